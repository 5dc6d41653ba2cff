// NumPy's own files, written in the browser: arrays as .npy, several of them in an uncompressed zip.

const KINDS = new Map([[Uint8Array, "|u1"], [Int8Array, "|i1"], [Int32Array, "<i4"], [Float32Array, "<f4"], [Float64Array, "<f8"]]);

/** { name: { shape, data } or a text } → the bytes of an .npz that np.load opens. */
export function npz(tensors) {
  return zip(Object.entries(tensors).map(([name, tensor]) => [`${name}.npy`, npy(tensor)]));
}

/** numpy.lib.format, version 1.0: magic, length of the header, the header padded to 64 bytes, the array in C order. */
export function npy(tensor) {
  const { shape, data } = typeof tensor === "string" ? letters(tensor) : tensor, kind = typeof tensor === "string" ? `<U${data.length}` : KINDS.get(data.constructor);
  if (!kind) throw new Error(`${data.constructor.name} can't be saved.`);
  const said = `{'descr': '${kind}', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const header = said.padEnd(Math.ceil((said.length + 11) / 64) * 64 - 11) + "\n";
  const start = Uint8Array.from([0x93, ..."NUMPY"].map((c) => (typeof c === "string" ? c.charCodeAt(0) : c)).concat([1, 0, header.length & 255, header.length >> 8]));
  return joined([start, new TextEncoder().encode(header), new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]);
}

/** A text as NumPy holds it: an array without axes, four bytes a letter. */
const letters = (text) => ({ shape: [], data: Uint32Array.from(text || " ", (letter) => letter.codePointAt(0)) });

/** A zip whose entries are stored as they are (PKWARE's APPNOTE, method 0; up to 4 GiB). */
function zip(entries) {
  const parts = [], directory = [];
  let at = 0;
  for (const [name, content] of entries) {
    const label = new TextEncoder().encode(name);
    const about = fields([[2, 20], [2, 0x0800], [2, 0], [2, 0], [2, 0x21], [4, crc32(content)], [4, content.length], [4, content.length], [2, label.length], [2, 0]]);
    directory.push(fields([[4, 0x02014b50], [2, 20]]), about, fields([[2, 0], [2, 0], [2, 0], [4, 0], [4, at]]), label);
    const head = [fields([[4, 0x04034b50]]), about, label, content];
    parts.push(...head);
    at += head.reduce((sum, part) => sum + part.length, 0);
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  return joined([...parts, ...directory, fields([[4, 0x06054b50], [2, 0], [2, 0], [2, entries.length], [2, entries.length], [4, size], [4, at], [2, 0]])]);
}

/** [[bytes, value]] as little-endian numbers. */
const fields = (list) => Uint8Array.from(list.flatMap(([count, value]) => Array.from({ length: count }, (_, i) => Math.floor(value / 256 ** i) & 255)));

function joined(parts) {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { result.set(part, at); at += part.length; }
  return result;
}

const TABLE = Int32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(bytes) {
  let c = -1;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ -1) >>> 0;
}
