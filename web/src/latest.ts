/** The table of the latest purchases. */
import type { Failure, Purchase } from "./api";
import { clock, licenseName, money, part, write, writeFailure } from "./page";
import { wall } from "./zone";

/** The number of rows is fixed, so nothing moves when purchases arrive. */
export const LATEST_ROWS = 8;

const PLACEHOLDER = "–";

const rows = part(document, "latest", HTMLTableSectionElement);
const failureNotice = part(document, "latest-failure", HTMLElement);

let shown: readonly Purchase[] | undefined;

for (let count = 0; count < LATEST_ROWS; count += 1) {
  const row = rows.insertRow();
  row.append(document.createElement("td"), document.createElement("td"), document.createElement("td"));
}

export function updateLatest(purchases: readonly Purchase[] | undefined, failure: Failure | undefined): void {
  // Outdated purchases stay visible.
  writeFailure(failureNotice, failure, purchases ? "latest.outdated" : "latest.failed");
  part(document, "latest-none", HTMLElement).hidden = purchases?.length !== 0;
  if (purchases !== shown) {
    const newestBefore = shown === undefined ? Infinity : (shown[0]?.position ?? 0);
    shown = purchases;
    moveToTop((purchases ?? []).filter(({ position }) => position > newestBefore).length);
  }
  const today = wall(new Date()).date;
  [...rows.rows].forEach((row, index) => {
    const purchase = purchases?.[index];
    if (purchase === undefined) {
      row.classList.remove("new");
    }
    const texts = purchase
      ? [timeOf(purchase.purchasedAt, today), licenseName(purchase.license), money(purchase.price)]
      : [PLACEHOLDER, PLACEHOLDER, PLACEHOLDER];
    texts.forEach((text, place) => {
      write(row.children[place] as HTMLElement, text);
    });
  });
}

/** Moves the last rows to the top for new purchases: inserting a row restarts its animation. */
function moveToTop(count: number): void {
  for (const row of [...rows.rows].slice(LATEST_ROWS - count)) {
    row.classList.add("new");
    rows.prepend(row);
  }
}

function timeOf(time: Date, today: string): string {
  return wall(time).date === today
    ? clock(time, { timeStyle: "medium" })
    : clock(time, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}
