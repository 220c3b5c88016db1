// The state of the page as the end of its address, so that a link restores what somebody looks at:
// ?show=reach&step=10&depth=24 is the reach alone, at training step 10, of the runs with 24 layers.

const link = new URLSearchParams(location.search);

// A whole number of the link; `otherwise` where there is none.
function linkNumber(key, otherwise = null) {
  const value = link.get(key);
  return value === null || !/^\d+$/.test(value) ? otherwise : Number(value);
}

// A number of the link that is one of some values; `otherwise` where it is none of them.
function linkChoice(key, values, otherwise) {
  const given = link.get(key);
  return values.find((value) => given !== null && given !== "" && Number(given) === value) ?? otherwise;
}

// Keep one part of the state in the address; null takes it out.
function remember(key, value) {
  if (value === null || value === undefined) link.delete(key);
  else link.set(key, value);
  try {
    history.replaceState(null, "", link.size ? `?${link}${location.hash}` : location.pathname);
  } catch {
    // A browser that keeps the address of a local file as it is: the page works without.
  }
}

// The address of one section in its present state.
function linkTo(section) {
  const parts = new URLSearchParams(link);
  parts.delete("tour");
  parts.delete("answer");
  parts.set("show", section);
  return `${location.href.split(/[?#]/)[0]}?${parts}`;
}

// The page reads the state once: the depth of the runs, and the section that is shown alone.
page.depth = linkNumber("depth");
page.only = link.get("show");

// At the foot of a section: the link to it, which a slide or another page can embed.
function sectionLink(section) {
  const told = el("span", { class: "soft" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(linkTo(section));
      told.textContent = "copied";
    } catch {
      told.textContent = linkTo(section);
    }
    announce(told.textContent);
  };
  return el(
    "span",
    { class: "link small" },
    el("button", { type: "button", onclick: copy, "aria-label": `copy the link to ${section}` }, "Copy link"),
    told,
  );
}
