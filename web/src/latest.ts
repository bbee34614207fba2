/** The newest purchases. */
import type { Failure, Purchase } from "./api";
import { clock, licenseName, money, part, write, writeFailure } from "./page";
import { wall } from "./zone";

/** As many rows as the table always has, so that nothing moves when purchases arrive. */
export const LATEST = 8;

const NOTHING_YET = "–";

const rows = part(document, "latest", HTMLTableSectionElement);
const failureNotice = part(document, "latest-failure", HTMLElement);

let shown: readonly Purchase[] | undefined;

for (let count = 0; count < LATEST; count += 1) {
  const row = rows.insertRow();
  row.append(document.createElement("td"), document.createElement("td"), document.createElement("td"));
}

export function updateLatest(purchases: readonly Purchase[] | undefined, failure: Failure | undefined): void {
  // Older ones are better than none.
  writeFailure(failureNotice, failure, purchases ? "latest.old" : "latest.failed");
  part(document, "latest-none", HTMLElement).hidden = purchases?.length !== 0;
  if (purchases !== shown) {
    const newestBefore = shown === undefined ? Infinity : (shown[0]?.position ?? 0);
    shown = purchases;
    makeRoom((purchases ?? []).filter(({ position }) => position > newestBefore).length);
  }
  const today = wall(new Date()).date;
  [...rows.rows].forEach((row, index) => {
    const purchase = purchases?.[index];
    if (purchase === undefined) {
      row.classList.remove("new");
    }
    const texts = purchase
      ? [timeOf(purchase.purchasedAt, today), licenseName(purchase.license), money(purchase.price)]
      : [NOTHING_YET, NOTHING_YET, NOTHING_YET];
    texts.forEach((text, place) => {
      write(row.children[place] as HTMLElement, text);
    });
  });
}

/** The last rows come first, for so many purchases that are new: a row that is put into the page begins to fade anew. */
function makeRoom(count: number): void {
  for (const row of [...rows.rows].slice(LATEST - count)) {
    row.classList.add("new");
    rows.prepend(row);
  }
}

function timeOf(time: Date, today: string): string {
  return wall(time).date === today
    ? clock(time, { timeStyle: "medium" })
    : clock(time, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}
