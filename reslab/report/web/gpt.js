// A GPT that trains in the reader's browser: the model of model.py with the wirings `pre` and `none`, its
// backward pass written out by hand, and AdamW. Names and shapes of the weights are those of the checkpoints,
// so that one set of weights can be trained here and by torch (tests/report/test_browser_gpt.py does both).
//
// Letters in the shape comments:
//     N tokens of a batch (B T), B sequences, T their length, C channels, H heads, D = C / H, V vocabulary
// All tensors are flat Float64Arrays, row by row. A shape is {V, T, C, H, L, skip}: L layers, skip the weight of
// x in y = skip x + F(N(x)).

// Name -> [rows, columns] of every weight; vectors have one column.
function gptShapes({ V, T, C, L }) {
  const shapes = { "wte.weight": [V, C], "wpe.weight": [T, C] };
  const norm = (name) => Object.assign(shapes, { [`${name}.weight`]: [C, 1], [`${name}.bias`]: [C, 1] });
  const linear = (name, rows, columns) =>
    Object.assign(shapes, { [`${name}.weight`]: [rows, columns], [`${name}.bias`]: [rows, 1] });
  for (let k = 0; k < L; k++) {
    norm(`blocks.${k}.attn_residual.norm`);
    linear(`blocks.${k}.attn.c_attn`, 3 * C, C);
    linear(`blocks.${k}.attn.c_proj`, C, C);
    norm(`blocks.${k}.mlp_residual.norm`);
    linear(`blocks.${k}.mlp.c_fc`, 4 * C, C);
    linear(`blocks.${k}.mlp.c_proj`, C, 4 * C);
  }
  norm("ln_f");
  return shapes;
}

// A stream of random numbers in [0, 1) for each text (mulberry32, its seed an FNV-1a hash).
function randomOf(text) {
  let state = 2166136261;
  for (const character of text) state = Math.imul(state ^ character.charCodeAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Starting weights as those of model.py with --init=unscaled: matrices normal with std 0.02, from draws that
// depend on seed and name alone, so that stacks with and without skips start alike.
function gptInit(shape, seed, std = 0.02) {
  const weights = {};
  for (const [name, [rows, columns]] of Object.entries(gptShapes(shape))) {
    const values = new Float64Array(rows * columns);
    if (columns > 1) {
      const random = randomOf(`${seed} ${name}`);
      for (let k = 0; k < values.length; k++) {
        const radius = Math.sqrt(-2 * Math.log(1 - random())); // Box and Muller 1958
        values[k] = std * radius * Math.cos(2 * Math.PI * random());
      }
    } else if (name.endsWith(".weight")) values.fill(1);
    weights[name] = values;
  }
  return weights;
}

// y (N, out) = x (N, inner) W^T + b, W (out, inner).
function linear(x, W, b, inner, out) {
  const N = x.length / inner;
  const y = new Float64Array(N * out);
  for (let n = 0; n < N; n++) {
    const from = n * inner;
    for (let o = 0; o < out; o++) {
      const row = o * inner;
      let sum = b ? b[o] : 0;
      for (let k = 0; k < inner; k++) sum += x[from + k] * W[row + k];
      y[n * out + o] = sum;
    }
  }
  return y;
}

// dL/dx (N, inner) from dL/dy (N, out); dL/dW and dL/db are added to dW and db.
function linearBackward(dy, x, W, dW, db, inner, out) {
  const N = x.length / inner;
  const dx = new Float64Array(N * inner);
  for (let n = 0; n < N; n++) {
    const from = n * inner;
    for (let o = 0; o < out; o++) {
      const d = dy[n * out + o];
      const row = o * inner;
      if (db) db[o] += d;
      for (let k = 0; k < inner; k++) {
        dx[from + k] += d * W[row + k];
        dW[row + k] += d * x[from + k];
      }
    }
  }
  return dx;
}

// LayerNorm of x (N, C): y = xhat gain + bias, and what its backward pass needs.
function layerNorm(x, gain, bias, C, eps = 1e-5) {
  const N = x.length / C;
  const [y, xhat, rstd] = [new Float64Array(x.length), new Float64Array(x.length), new Float64Array(N)];
  for (let n = 0; n < N; n++) {
    let mean = 0;
    for (let c = 0; c < C; c++) mean += x[n * C + c] / C;
    let variance = 0;
    for (let c = 0; c < C; c++) {
      const off = x[n * C + c] - mean;
      variance += (off * off) / C;
    }
    rstd[n] = 1 / Math.sqrt(variance + eps);
    for (let c = 0; c < C; c++) {
      const k = n * C + c;
      xhat[k] = (x[k] - mean) * rstd[n];
      y[k] = xhat[k] * gain[c] + bias[c];
    }
  }
  return { y, xhat, rstd };
}

// dL/dx (N, C) from dL/dy; those of gain and bias are added to dgain and dbias.
function layerNormBackward(dy, { xhat, rstd }, gain, dgain, dbias, C) {
  const dx = new Float64Array(dy.length);
  for (let n = 0; n < rstd.length; n++) {
    let mean = 0;
    let along = 0;
    for (let c = 0; c < C; c++) {
      const k = n * C + c;
      const d = dy[k] * gain[c];
      mean += d / C;
      along += (d * xhat[k]) / C;
      dgain[c] += dy[k] * xhat[k];
      dbias[c] += dy[k];
    }
    for (let c = 0; c < C; c++) {
      const k = n * C + c;
      dx[k] = (dy[k] * gain[c] - mean - xhat[k] * along) * rstd[n];
    }
  }
  return dx;
}

const GELU = Math.sqrt(2 / Math.PI);
const gelu = (x) => 0.5 * x * (1 + Math.tanh(GELU * x * (1 + 0.044715 * x * x)));
function geluSlope(x) {
  const tanh = Math.tanh(GELU * x * (1 + 0.044715 * x * x));
  return 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * GELU * (1 + 3 * 0.044715 * x * x);
}

// Causal attention of qkv (N, 3C): y (N, C), and the weights A (B, H, T, T) that its backward pass needs.
function attention(qkv, { T, C, H }) {
  const [N, D, S] = [qkv.length / (3 * C), C / H, 3 * C];
  const [y, A] = [new Float64Array(N * C), new Float64Array(N * H * T)];
  forEachQuery(N, T, H, (b, h, t, row) => {
    const q = (b * T + t) * S + h * D;
    let most = Number.NEGATIVE_INFINITY;
    for (let s = 0; s <= t; s++) {
      const k = (b * T + s) * S + C + h * D;
      let score = 0;
      for (let d = 0; d < D; d++) score += qkv[q + d] * qkv[k + d];
      A[row + s] = score / Math.sqrt(D);
      most = Math.max(most, A[row + s]);
    }
    let total = 0;
    for (let s = 0; s <= t; s++) {
      A[row + s] = Math.exp(A[row + s] - most);
      total += A[row + s];
    }
    const to = (b * T + t) * C + h * D;
    for (let s = 0; s <= t; s++) {
      A[row + s] /= total;
      const v = (b * T + s) * S + 2 * C + h * D;
      for (let d = 0; d < D; d++) y[to + d] += A[row + s] * qkv[v + d];
    }
  });
  return { y, A };
}

// dL/dqkv (N, 3C) from dL/dy (N, C).
function attentionBackward(dy, qkv, A, { T, C, H }) {
  const [N, D, S] = [qkv.length / (3 * C), C / H, 3 * C];
  const [dqkv, dA] = [new Float64Array(qkv.length), new Float64Array(T)];
  forEachQuery(N, T, H, (b, h, t, row) => {
    const from = (b * T + t) * C + h * D;
    let mean = 0;
    for (let s = 0; s <= t; s++) {
      const v = (b * T + s) * S + 2 * C + h * D;
      dA[s] = 0;
      for (let d = 0; d < D; d++) {
        dA[s] += dy[from + d] * qkv[v + d];
        dqkv[v + d] += A[row + s] * dy[from + d];
      }
      mean += A[row + s] * dA[s];
    }
    const q = (b * T + t) * S + h * D;
    for (let s = 0; s <= t; s++) {
      const score = (A[row + s] * (dA[s] - mean)) / Math.sqrt(D); // through the softmax
      const k = (b * T + s) * S + C + h * D;
      for (let d = 0; d < D; d++) {
        dqkv[q + d] += score * qkv[k + d];
        dqkv[k + d] += score * qkv[q + d];
      }
    }
  });
  return dqkv;
}

// f(b, h, t, row) for each query; row is where its T attention weights begin.
function forEachQuery(N, T, H, f) {
  for (let b = 0; b < N / T; b++)
    for (let h = 0; h < H; h++) for (let t = 0; t < T; t++) f(b, h, t, ((b * H + h) * T + t) * T);
}
