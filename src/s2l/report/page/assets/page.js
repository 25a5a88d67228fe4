// The page, top to bottom.
bigPlot();
cards();
maps();
distributions();
document.querySelectorAll("table.sortable").forEach(sortable);
if (examples) {
  groupExamples();
  lists();
}
