// The page of an audit: fixes of one's own choice, or those that the audit proposes, as a fix list.

function startAudit() {
  const part = (name) => document.getElementById(`audit-${name}`);
  if (!part("export")) return;
  const { shots } = pageData;
  const cards = [...document.querySelectorAll(".shot")];
  const actions = cards.map((card) => card.querySelector("select"));
  // A picture may stand in several cases: it is fixed in one way.
  const places = Map.groupBy(shots.keys(), (index) => shots[index].path);

  const chosen = () => [...places.values()].map(([first]) => first).filter((index) => actions[index].value !== "");
  const count = () => {
    const number = chosen().length;
    part("chosen").textContent = `${number.toLocaleString("en")} selected`;
    part("export").disabled = number === 0;
    cards.forEach((card, index) => card.classList.toggle("chosen", actions[index].value !== ""));
  };
  const chooseAll = (valueOf) => {
    actions.forEach((action, index) => { action.value = valueOf(shots[index]); });
    count();
  };

  document.getElementById("findings").addEventListener("change", (event) => {
    const index = actions.indexOf(event.target);
    if (index < 0) return;
    for (const place of places.get(shots[index].path)) actions[place].value = event.target.value;
    count();
  });
  part("propose").addEventListener("click", () => {
    chooseAll((shot) => (shot.isProposed ? "exclude" : ""));
  });
  part("clear").addEventListener("click", () => chooseAll(() => ""));
  part("export").addEventListener("click", () => {
    const fixes = chosen().map((index) => {
      const { value } = actions[index];
      const action = value === "exclude" ? "exclude" : "relabel";
      return { item: { ...shots[index], other: shots[index].others[Number(value)] }, action };
    });
    download("fixes.csv", fixList(fixes));
  });
  chooseAll(() => ""); // some browsers keep it over a reload
}
