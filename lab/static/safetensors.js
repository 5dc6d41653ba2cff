// Read a safetensors file: eight bytes of length, a JSON header, then the arrays.  They are views into the buffer, not copies.

const KINDS = { U8: Uint8Array, I8: Int8Array, I32: Int32Array, F32: Float32Array };

/** ArrayBuffer → { tensors: { name: { shape, data } }, said: {…} } */
export function parse(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: [start, stop] } = entry;
    const Kind = KINDS[dtype];
    if (!Kind) throw new Error(`${name} is ${dtype}; this page reads ${Object.keys(KINDS).join(", ")}.`);
    const begin = 8 + length + start;
    const data = begin % Kind.BYTES_PER_ELEMENT === 0
      ? new Kind(buffer, begin, (stop - start) / Kind.BYTES_PER_ELEMENT)
      : new Kind(buffer.slice(begin, begin + stop - start));
    tensors[name] = { shape, data };
  }
  return { tensors, said: JSON.parse(header.__metadata__?.said ?? "{}") };
}
