// Fix lists, as drupe.data.fixes reads them.

/** Return rows of text as CSV, quoted as Python's csv module reads it. */
function csvText(rows) {
  const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => `${row.map((text) => cell(String(text))).join(",")}\n`).join("");
}

/** Return text that no spreadsheet takes for a formula; see drupe.printable.spreadsheet_cell. */
function spreadsheetCell(text) {
  return /^'*[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

/**
 * Return the fix list that `drupe data audit --apply` takes. Fixes are {item, action}; an item has
 * its path, the reason, the other label for a relabel, and the digest of its picture if known.
 */
function fixList(fixes) {
  const rows = fixes.map(({ item, action }) => [
    ...[item.path, action, action === "relabel" ? item.other : "", item.reason].map(spreadsheetCell),
    item.sha256,
  ]);
  return csvText([["path", "action", "value", "reason", "sha256"], ...rows]);
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
