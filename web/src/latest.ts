/** The newest purchases. */
import type { Failure, Purchase } from "./api";
import { clock, explain, licenseName, money, part, say, write } from "./page";
import { wall } from "./zone";

/** As many rows as the table always has, so that nothing moves when purchases arrive. */
export const LATEST = 8;

const NOTHING_YET = "–";

const rows = part(document, "latest", HTMLTableSectionElement);
const failureNotice = part(document, "latest-failure", HTMLElement);

/** What the table shows, and which position was its newest before: what has come since then is marked as new. */
let shown: readonly Purchase[] | undefined;
let newestBefore: number | undefined;

for (let count = 0; count < LATEST; count += 1) {
  const row = rows.insertRow();
  row.append(document.createElement("td"), document.createElement("td"), document.createElement("td"));
}

export function updateLatest(purchases: readonly Purchase[] | undefined, failure: Failure | undefined): void {
  // Older ones are better than none; the page says above how old they are.
  failureNotice.hidden = failure === undefined || purchases !== undefined;
  write(failureNotice, failure ? say("latest.failed", { reason: explain(failure) }) : "");
  part(document, "latest-none", HTMLElement).hidden = purchases?.length !== 0;
  if (purchases !== shown) {
    newestBefore = shown?.[0]?.position;
    shown = purchases;
  }
  const today = wall(new Date()).date;
  [...rows.rows].forEach((row, index) => {
    const purchase = purchases?.[index];
    const isNew = purchase !== undefined && newestBefore !== undefined && purchase.position > newestBefore;
    row.classList.toggle("new", isNew);
    const texts = purchase
      ? [timeOf(purchase.purchasedAt, today), licenseName(purchase.license), money(purchase.price)]
      : [NOTHING_YET, NOTHING_YET, NOTHING_YET];
    texts.forEach((text, place) => {
      write(row.children[place] as HTMLElement, text);
    });
  });
}

function timeOf(time: Date, today: string): string {
  return wall(time).date === today
    ? clock(time, { timeStyle: "medium" })
    : clock(time, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}
