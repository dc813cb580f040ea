// What every page does: sorts tables by their headings, copies text, and lets what scrolls be reached by
// keys. The page is whole without it.

const number = text => text === "" ? NaN : Number(text);
const compare = (a, b) => number(a) - number(b) || a.localeCompare(b, "en", { numeric: true });
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const rising = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach(other => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows].sort((a, b) => compare(key(a), key(b)));
      table.tBodies[0].append(...(rising ? rows : rows.reverse()));
    });
  });
}
document.querySelectorAll(".sorting").forEach(hint => { hint.hidden = false; });
for (const copy of navigator.clipboard ? document.querySelectorAll(".copy") : []) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    const text = copy.previousElementSibling;
    // Where the browser forbids it, the text is marked, to be copied by keys.
    const mark = () => { getSelection().selectAllChildren(text); return "Marked: copy it by keys"; };
    copy.textContent = await navigator.clipboard.writeText(text.textContent).then(() => "Copied", mark);
  });
}

const labelOf = part => part.closest("section")?.querySelector("h2, h3")?.textContent ?? "wide content";
for (const part of document.querySelectorAll(".scroll, .picture.wide, .shown > figure, pre, .contents")) {
  if (part.scrollWidth <= part.clientWidth && part.scrollHeight <= part.clientHeight) continue;
  part.tabIndex = 0;
  part.setAttribute("role", "group");
  part.setAttribute("aria-label", labelOf(part));
  if (part.scrollWidth <= part.clientWidth || part.matches(".contents, pre")) continue;
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "It goes on to the right: scroll sideways →";
  part.before(hint);
}
