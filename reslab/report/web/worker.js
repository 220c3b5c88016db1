// A worker that trains one arm: it is told a shape and a text, then how many updates to make, and answers with
// the loss of each and with the reach before the first.

const SEED = 1337; // of the draws and of the batches, so that both arms have the same
const run = { step: 0 };

// The sequences of one update: a function of the step alone.
function batchOf(ids, step, sequences, T) {
  const random = randomOf(`${SEED} batch ${step}`);
  const [tokens, targets] = [[], []];
  for (let k = 0; k < sequences; k++) {
    const start = Math.floor(random() * (ids.length - T));
    for (let t = start; t < start + T; t++) {
      tokens.push(ids[t]);
      targets.push(ids[t + 1]);
    }
  }
  return [tokens, targets];
}

function update() {
  const [tokens, targets] = batchOf(run.ids, run.step, run.options.sequences, run.shape.T);
  const { loss, gradients, reach } = lossAndGradients(run.shape, run.weights, tokens, targets);
  adamw(run.weights, gradients, run, run.options);
  return { loss, reach };
}

self.onmessage = ({ data }) => {
  if (data.shape) {
    const weights = gptInit(data.shape, SEED);
    Object.assign(run, data, { weights, m: zerosLike(weights), v: zerosLike(weights) });
  }
  const losses = [];
  let reach = null;
  for (let k = 0; k < data.updates; k++) {
    const done = update();
    losses.push(done.loss);
    reach ??= done.reach;
  }
  postMessage({ losses, reach });
};
