// Selecting rows of a list. Without this script each row is selected by hand, and everything else works alike.
for (const form of document.querySelectorAll("[data-selection]")) {
  const all = form.querySelector("[data-all]");
  const rows = [...form.querySelectorAll("input[name=uuid]")];
  const everything = form.querySelector("input[name=everything]");
  const selected = form.querySelector("[data-selected]");
  // If everything that the filter finds is selected, the rows in view are checked; otherwise as before.
  const include = () => {
    for (const row of rows) {
      if (everything.checked === row.disabled) continue;
      if (everything.checked) row.dataset.before = row.checked ? "yes" : "";
      row.checked = everything.checked || row.dataset.before === "yes";
      row.disabled = everything.checked;
    }
    all.disabled = everything.checked;
  };
  const show = () => {
    include();
    const count = rows.filter((row) => row.checked).length;
    all.checked = count === rows.length;
    all.indeterminate = count > 0 && count < rows.length;
    selected.textContent = everything.checked || !count ? "" : `${selected.dataset.selected} ${count}`;
  };
  all.hidden = false;
  all.addEventListener("change", () => { for (const row of rows) row.checked = all.checked; });
  form.addEventListener("change", show);
  addEventListener("pageshow", show);  // after going back, a browser ticks again what was ticked
  show();
}
