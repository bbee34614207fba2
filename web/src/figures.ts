import type { Failure, Figures } from "./api";
import { catalogueOrder, offers } from "./catalogue";
import type { Days } from "./days";
import {
  age,
  change,
  clock,
  companyTime,
  licenseName,
  money,
  number,
  part,
  sales,
  say,
  share,
  write,
  writeFailure,
  writeTime,
} from "./page";

const NOTHING_YET = "–";

/** Brings the figures' places in line with what is known. */
export function updateFigures(figures: Figures | undefined, ageSeconds: number): void {
  write(part(document, "count", HTMLElement), figures ? number(figures.salesCount) : NOTHING_YET);
  write(part(document, "revenue", HTMLElement), figures ? money(figures.revenue) : NOTHING_YET);
  write(part(document, "position", HTMLElement), figures ? number(figures.position) : NOTHING_YET);
  write(part(document, "age", HTMLElement), figures ? age(ageSeconds) : NOTHING_YET);

  const asOf = part(document, "as-of", HTMLTimeElement);
  // An empty log has no time.
  if (figures === undefined || figures.position === 0) {
    write(asOf, NOTHING_YET);
  } else {
    writeTime(asOf, figures.asOf, companyTime);
  }
  const licenses = figures ? [...figures.byLicense.keys()] : offers.map((offer) => offer.license);
  for (const license of licenses.toSorted(catalogueOrder)) {
    const totals = figures?.byLicense.get(license);
    const row = rowFor(license);
    write(part(row, "license-name", HTMLElement), licenseName(license));
    write(part(row, "license-count", HTMLElement), totals ? number(totals.salesCount) : NOTHING_YET);
    write(part(row, "license-revenue", HTMLElement), totals ? money(totals.revenue) : NOTHING_YET);
    const [of, whole] = [totals?.revenue.amount_minor ?? 0, figures?.revenue.amount_minor ?? 0];
    write(part(row, "license-share", HTMLElement), totals ? share(of, whole) : NOTHING_YET);
    row.style.setProperty("--share", String(whole === 0 ? 0 : of / whole));
  }
}

/** The table's row for a licence, made at its first appearance. */
function rowFor(license: string): HTMLTableRowElement {
  const rows = part(document, "licenses", HTMLTableSectionElement);
  const known = [...rows.rows].find((row) => row.dataset["license"] === license);
  if (known !== undefined) {
    return known;
  }
  const template = part(document, "license", HTMLTemplateElement).content.cloneNode(true) as DocumentFragment;
  const row = part(template, "license-row", HTMLTableRowElement);
  row.dataset["license"] = license;
  rows.append(row);
  return row;
}

/** Today beside yesterday, as far as it is known. */
export function updateDays(days: Days | undefined, failure: Failure | undefined): void {
  writeFailure(part(document, "days-failure", HTMLElement), failure, days ? "day.old" : "day.failed");
  const places = [
    ["today", days?.today],
    ["yesterday", days?.yesterday],
  ] as const;
  for (const [name, totals] of places) {
    write(part(document, `${name}-revenue`, HTMLElement), totals ? money(totals.revenue) : NOTHING_YET);
    write(part(document, `${name}-count`, HTMLElement), totals ? sales(totals.salesCount) : NOTHING_YET);
  }
  write(part(document, "today-beside", HTMLElement), days ? beside(days) : NOTHING_YET);
}

function beside({ today, yesterdayByNow: { revenue }, now }: Days): string {
  const known = { time: clock(now, { timeStyle: "short" }), revenue: money(revenue) };
  // Nothing has no percentage.
  return revenue.amount_minor === 0
    ? say("day.beside", known)
    : say("day.besideChange", { ...known, change: change(revenue.amount_minor, today.revenue.amount_minor) });
}
