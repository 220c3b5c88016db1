// The seven stops of the tour: a view of this page, a formula, a question, and an answer whose numbers are those of
// the page's two arms.

// A probe's number of a run at the last measured step that is not after `step`; places count from the input.
const numberAt = (run, probe, place, step) => probeAt(run, probe, step)?.values.at(place) ?? null;

// The two arms, the first with skips, and the first, an early and the last of their steps.
function tourFacts() {
  const [run, plain] = pairRuns();
  const steps = probedSteps([run, plain]);
  const early = steps.findLast((step) => step <= 10) ?? steps[0];
  return { run, plain, first: steps[0], early, last: steps.at(-1), middle: Math.floor(run.layers / 2) };
}

const percent = (share) => (share === null ? "an unknown part" : `${shown(100 * share, 2)} %`);
const NOT_MEASURED = "These runs did not measure it.";

function blockAnswer({ run, plain, first }) {
  const [ours, theirs] = [run, plain].map((one) => blockSizes(one, 0, 0, first));
  if ([ours.x, ours.f, theirs.raw].includes(null)) return NOT_MEASURED;
  const kept =
    run.wiring.attn.skip === 1
      ? `: the block keeps what it was given and changes it by ${percent(ours.f / ours.x)}`
      : "";
  return (
    `With skips the stream x has size ${shown(ours.x)} (rms over its entries) and attention adds ${shown(ours.f)} to ` +
    `it${kept}. Without skips y is F alone, of size ${shown(theirs.raw)}, and x is gone.`
  );
}

function derivativeAnswer({ run, plain, last, middle }) {
  const [ours, theirs] = [run, plain].map((one) => blockSizes(one, middle, 0, last));
  if ([ours.dy, ours.skip, ours.branch, theirs.dy, theirs.branch].includes(null)) return NOT_MEASURED;
  const all = run.wiring.attn.skip === 1 ? "All of it." : "All of it, times the weight of x in y.";
  return (
    `${all} In layer ${middle} at step ${last}, ${shown(ours.dy)} comes in and ` +
    `${shown(ours.skip)} goes past F, whatever F does; through F come ${shown(ours.branch)}. Without skips ` +
    `${shown(theirs.dy)} comes in and only what F lets through goes on, ${shown(theirs.branch)}.`
  );
}

function productAnswer({ run, plain }) {
  const [ours, theirs] = [run.autopsy, plain.autopsy];
  if (!ours?.paths || !theirs?.paths) {
    return (
      "It takes a skip of constant weight, and an autopsy of both models, to tell: " +
      `python autopsy.py ${run.folder}; python autopsy.py ${plain.folder}`
    );
  }
  const all = ours.paths.length - 1;
  const largest = ours.paths.indexOf(Math.max(...ours.paths));
  const sum =
    ours.paths[largest] > ours.total
      ? `The parts point different ways and cancel in part: their sum is ${shown(ours.total)}.`
      : `Their sum is ${shown(ours.total)}.`;
  return (
    `With skips a part of size ${shown(ours.paths[0])} has passed no branch, and the largest part, ` +
    `${shown(ours.paths[largest])}, has passed ${largest} of ${all}; the path through all ${all} carries ` +
    `${shown(ours.paths[all])}. ${sum} Without skips that last path is the only one ` +
    `there is, and it carries ${shown(theirs.paths.at(-1))}.`
  );
}

function reachAnswer({ run, plain, first, early }) {
  const [ours, theirs] = [run, plain].map((one) => numberAt(one, "resid_gradient", 0, first));
  const later = [run, plain].map((one) => numberAt(one, "resid_gradient", 0, early));
  const shares = [run, plain].map((one) => numberAt(one, "position0_share", 0, first));
  if (ours === null || theirs === null) return NOT_MEASURED;
  const [more, less] = theirs > ours ? ["Without skips", "with skips"] : ["With skips", "without skips"];
  const numbers = [shown(Math.max(ours, theirs)), shown(Math.min(ours, theirs))];
  const collapsed =
    shares[1] > MOSTLY
      ? `But ${percent(shares[1])} of the gradient without skips sits on the first token (with skips ` +
        `${percent(shares[0])}): all tokens have become alike, and it tells the early layers nothing about the text. `
      : "";
  return (
    `${more}: there it is ${numbers[0]} at step ${first}, and ${numbers[1]} ${less}. ${collapsed}By step ${early} it is ` +
    `${shown(later[1])} without skips and ${shown(later[0])} with them.`
  );
}

function idleAnswer({ run }) {
  const costs = run.autopsy?.lesions;
  if (!costs) return `It takes an autopsy of the model to tell: python autopsy.py ${run.folder}`;
  const rises = costs.map(([rise]) => rise).sort((a, b) => a - b);
  const most = costs.findIndex(([rise]) => rise === rises.at(-1));
  const deeper =
    run.wiring.attn.skip === 1 ? "So a deeper stack can compute whatever a shallower one can. " : "";
  const calm = costs.filter(([rise]) => rise < 0.01).length;
  return (
    `Of ${costs.length} blocks, ${calm} cost less than 0.01 nats each; the median is ${shown(rises[rises.length >> 1], 2)} ` +
    `and the largest ${shown(rises.at(-1), 2)}, for block ${most}. ${withoutBranch(run.wiring.attn)} ${deeper}Without ` +
    "skips a block with F = 0 hands on nothing."
  );
}

function depthAnswer({ plain, run, first }) {
  const [ours, theirs] = [run, plain].map((one) => probeAt(one, "token_diversity", first)?.values);
  if (!ours || !theirs) return NOT_MEASURED;
  const alike = theirs.findIndex((value) => value !== null && value < ALIKE);
  const behind =
    alike < 0 ? `None of its ${plain.layers} does that` : `Behind ${alike} of its ${plain.layers} blocks`;
  return (
    `${behind}; after the last they differ by ${shown(theirs.at(-1), 2)} of their size, with skips by ` +
    `${shown(ours.at(-1), 2)}. Every further block without a skip is one more average, and tokens ` +
    "that have become alike can't be told apart again by anything that follows."
  );
}

function repairAnswer() {
  const repaired = page.data.runs.find(
    (run) => run.config.init === "self" && run.wiring.attn.skip === 0 && run.curves.val.loss.length,
  );
  const seen = repaired
    ? ` On this page, ${nameOf(repaired)} ends at ${shown(repaired.curves.val.loss.at(-1))}.`
    : "";
  return (
    "Yes. Let each token attend to itself at first (W_Q = W_K = c times an orthogonal matrix, all other matrices " +
    "orthogonal as well), and let the blocks learn more slowly than the embeddings: then a plain stack of 12 layers gets " +
    "to about what pairs of letters tell. The deeper it is, the smaller its rate has to be, and 48 layers ended about " +
    "where a model without blocks does. The skip of GPT-2 needed no such care up to 48 layers. " +
    `Try it: python compare.py config/rescue.py${seen}`
  );
}

const MOSTLY = 0.9; // of a gradient, on one token
const ALIKE = 1e-3; // tokens that differ by less than this part of their size

const STOPS = [
  {
    title: "The block",
    view: "block",
    set: ({ first }) => ({ part: 3, layer: 0, kind: 0, step: first }),
    formula: () => formula("y = x + F ( x )"),
    question: "Before any training, which is larger in y: the x that came in, or what F adds to it?",
    answer: blockAnswer,
  },
  {
    title: "The derivative",
    view: "block",
    set: ({ last, middle }) => ({ part: 7, layer: middle, kind: 0, step: last }),
    formula: () => formula(["mfrac", "d y", "d x"], "= I +", ["mfrac", "d F", "d x"]),
    question: "Of the gradient that comes in from above, how much goes past F unchanged?",
    answer: derivativeAnswer,
  },
  {
    title: "The product",
    view: "reach",
    set: ({ last }) => ({ probe: "resid_gradient", step: last }),
    formula: () =>
      formula(
        ["munderover", "∏", "k = 1", "n"],
        "( I +",
        ["msub", "J", "k"],
        ") = I +",
        ["munder", "∑", "k"],
        ["msub", "J", "k"],
        "+ ⋯ +",
        ["munder", "∏", "k"],
        ["msub", "J", "k"],
      ),
    question:
      "Multiplied out, each term is one path down the stack. Which paths bring the gradient to layer 0?",
    answer: productAnswer,
  },
  {
    title: "The reach",
    view: "reach",
    set: ({ first }) => ({ probe: "resid_gradient", step: first }),
    formula: () =>
      formula(
        ["mfrac", "d L", ["mrow", "d", ["msub", "x", "0"]]],
        "=",
        ["mfrac", "d L", ["mrow", "d", ["msub", "x", "n"]]],
        ["munderover", "∏", "k = 1", "n"],
        ["mfrac", ["mrow", "d", ["msub", "x", "k"]], ["mrow", "d", ["msub", "x", "k - 1"]]],
      ),
    question: "Before training, in which of the two stacks is the gradient at layer 0 larger?",
    answer: reachAnswer,
  },
  {
    title: "F = 0",
    view: "block",
    set: ({ last, middle }) => ({ part: 3, layer: middle, kind: 1, step: last }),
    formula: () => formula("F = 0 ⇒ y = x"),
    question: "Take one block out of the trained stack with skips. By how much does its loss rise?",
    answer: idleAnswer,
  },
  {
    title: "Depth",
    view: "reach",
    set: ({ first }) => ({ probe: "token_diversity", step: first }),
    formula: () =>
      formula(["msub", "A", "i j"], "=", ["mfrac", "1", "i"], ", ", ["msup", "A", "n"], "→ 1", [
        "msubsup",
        "e",
        "1",
        "⊤",
      ]),
    question:
      "Fresh attention is an average over earlier tokens. How many blocks without skips does it take until all tokens " +
      "are the same to a thousandth?",
    answer: depthAnswer,
  },
  {
    title: "Repair",
    view: "first",
    set: ({ last }) => ({ step: last }),
    formula: () =>
      formula(["msub", "W", "Q"], "=", ["msub", "W", "K"], "= c O , ", ["msup", "O", "⊤"], "O = I"),
    question: "Can the stack without skips be made to learn without giving it a skip?",
    answer: repairAnswer,
  },
];
