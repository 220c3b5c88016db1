// One update of the GPT of gpt.js, and what is measured on the way: the loss, and the gradient that reaches
// each site of the stream.

// A branch F(N(x)) of the layer `at`: what it gives, and backward(dy), which adds the gradients of its weights to
// `gradients` and returns what it sends down to x.
function branch(kind, at, x, shape, weights, gradients) {
  const { C } = shape;
  const [norm, into, out] =
    kind === "attn"
      ? ["attn_residual.norm", "attn.c_attn", "attn.c_proj"]
      : ["mlp_residual.norm", "mlp.c_fc", "mlp.c_proj"];
  const of = (tensors, name) => [
    tensors[`blocks.${at}.${name}.weight`],
    tensors[`blocks.${at}.${name}.bias`],
  ];
  const normed = layerNorm(x, ...of(weights, norm), C);
  const width = (kind === "attn" ? 3 : 4) * C;
  const hidden = linear(normed.y, ...of(weights, into), C, width); // (N, 3C) or (N, 4C)
  const attended = kind === "attn" ? attention(hidden, shape) : null;
  const middle = attended ? attended.y : hidden.map(gelu); // (N, C) or (N, 4C)
  const inner = attended ? C : width;
  const y = linear(middle, ...of(weights, out), inner, C);
  const backward = (dy) => {
    const dmiddle = linearBackward(dy, middle, of(weights, out)[0], ...of(gradients, out), inner, C);
    const dhidden = attended
      ? attentionBackward(dmiddle, hidden, attended.A, shape)
      : dmiddle.map((d, k) => d * geluSlope(hidden[k]));
    const dnormed = linearBackward(dhidden, normed.y, of(weights, into)[0], ...of(gradients, into), C, width);
    return layerNormBackward(dnormed, normed, of(weights, norm)[0], ...of(gradients, norm), C);
  };
  return { y, backward };
}

// The mean cross-entropy of logits (N, V), in nats per token, and its gradient, which takes their place.
function crossEntropy(logits, targets, V) {
  const N = targets.length;
  let loss = 0;
  for (let n = 0; n < N; n++) {
    const row = logits.subarray(n * V, (n + 1) * V);
    const most = row.reduce((a, b) => Math.max(a, b));
    const total = row.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    loss += (Math.log(total) + most - row[targets[n]]) / N;
    for (let v = 0; v < V; v++) row[v] = (Math.exp(row[v] - most) / total - (v === targets[n] ? 1 : 0)) / N;
  }
  return loss;
}

const zerosLike = (tensors) =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, values]) => [name, new Float64Array(values.length)]),
  );

const normOf = (tensor) => Math.sqrt(tensor.reduce((sum, value) => sum + value * value, 0));

// Forward and backward through the model. tokens and targets: (N,) ids of whole sequences.
// Returns {loss, gradients, reach}: reach holds ‖dL/dh‖ of the stream around the sublayers (2L + 1), the probe
// resid_gradient.
function lossAndGradients(shape, weights, tokens, targets) {
  const { V, T, C, L, skip } = shape;
  const gradients = zerosLike(weights);
  const [wte, wpe] = [weights["wte.weight"], weights["wpe.weight"]];
  let x = new Float64Array(tokens.length * C).map(
    (_, k) => wte[tokens[Math.floor(k / C)] * C + (k % C)] + wpe[k % (T * C)],
  );
  const branches = [];
  for (let k = 0; k < 2 * L; k++) {
    const F = branch(k % 2 ? "mlp" : "attn", Math.floor(k / 2), x, shape, weights, gradients);
    branches.push(F);
    const before = x;
    x = F.y.map((f, i) => skip * before[i] + f); // y = skip x + F(N(x))
  }
  const last = layerNorm(x, weights["ln_f.weight"], weights["ln_f.bias"], C);
  const logits = linear(last.y, wte, null, C, V);
  const loss = crossEntropy(logits, targets, V);
  const dlast = linearBackward(logits, last.y, wte, gradients["wte.weight"], null, C, V);
  let dx = layerNormBackward(
    dlast,
    last,
    weights["ln_f.weight"],
    gradients["ln_f.weight"],
    gradients["ln_f.bias"],
    C,
  );
  const reach = [normOf(dx)];
  for (const F of branches.reverse()) {
    const dy = dx;
    dx = F.backward(dy).map((d, i) => skip * dy[i] + d); // dL/dx = skip dL/dy + (dF/dx)^T dL/dy
    reach.unshift(normOf(dx));
  }
  for (let k = 0; k < dx.length; k++) {
    gradients["wte.weight"][tokens[Math.floor(k / C)] * C + (k % C)] += dx[k];
    gradients["wpe.weight"][k % (T * C)] += dx[k];
  }
  return { loss, gradients, reach };
}

// The learning rate of the update that follows `step` updates: up to its peak in `warmup` updates, then constant.
const rateAt = (step, { rate, warmup }) => (step < warmup ? (rate * (step + 1)) / (warmup + 1) : rate);

// AdamW (Loshchilov & Hutter 2019) with the gradient clipped to norm `clip`; matrices alone decay.
// state: {step, m, v}, m and v zeros like the weights at first; it is changed, and so are the weights.
function adamw(weights, gradients, state, options) {
  const { beta1, beta2, eps, decay, clip } = options;
  const norm = Math.sqrt(Object.values(gradients).reduce((sum, g) => sum + normOf(g) ** 2, 0));
  const scale = Math.min(1, clip / (norm + 1e-6));
  const rate = rateAt(state.step, options);
  state.step += 1;
  const [c1, c2] = [1 - beta1 ** state.step, 1 - beta2 ** state.step];
  for (const [name, w] of Object.entries(weights)) {
    const m = state.m[name];
    const v = state.v[name];
    const keep = isMatrix(name) ? 1 - rate * decay : 1;
    for (let k = 0; k < w.length; k++) {
      const g = gradients[name][k] * scale;
      m[k] += (1 - beta1) * (g - m[k]);
      v[k] = beta2 * v[k] + (1 - beta2) * g * g;
      w[k] = w[k] * keep - ((rate / c1) * m[k]) / (Math.sqrt(v[k] / c2) + eps);
    }
  }
  return norm;
}

const isMatrix = (name) => name.endsWith(".weight") && !/norm|ln_f/.test(name);
