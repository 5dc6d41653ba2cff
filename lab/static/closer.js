// A run's curves from closer.  A page holds some 2000 points of each; where one zooms in, the points that were logged there take their
// place as soon as they are known (lab/longfile.py), bounded alike.  What is drawn until then stays.

/** closer(track, first, last) → the curves to draw between two steps: `ask` brings them, `arrived` is called when they came. */
export function closer(ask, arrived) {
  return (track, first, last) => {
    if (!track.thinned) return track.curves;
    const wanted = `${first} ${last} ${track.told}`;
    if (track.wanted !== wanted) {
      track.wanted = wanted;
      ask(`api/run/${track.id}/within?first=${first}&last=${last}`).then((near) => {
        if (track.wanted !== wanted) return; // somebody zoomed on
        track.near = { ...near, key: wanted };
        arrived();
      }, () => { track.wanted = null; }); // asked again when there is something new
    }
    return track.near ? joined(track) : track.curves;
  };
}

/** All curves with the near points in their place; made once for what is known. */
function joined(track) {
  const of = `${track.near.key} ${track.cursor}`;
  if (track.joined?.of !== of) track.joined = { of, curves: Object.fromEntries(Object.entries(track.curves).map(([name, curve]) => [name, spliced(curve, track.near, name)])) };
  return track.joined.curves;
}

/** What lies before, the near points, and what lies behind or was logged since. */
function spliced({ x, y }, { first, last, curves }, name) {
  const [nearX, nearY] = curves[name] ?? [[], []];
  let from = x.findIndex((step) => step >= first), to = x.findIndex((step) => step > last);
  if (from < 0) from = x.length;
  if (to < 0) to = x.length;
  return { x: [...x.slice(0, from), ...nearX, ...x.slice(to)], y: [...y.slice(0, from), ...nearY, ...y.slice(to)] };
}
