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
  t,
  share,
  write,
  writeFailure,
  writeTime,
} from "./page";

const PLACEHOLDER = "–";

/** Renders the totals, or placeholders. */
export function updateFigures(figures: Figures | undefined, ageSeconds: number): void {
  write(part(document, "count", HTMLElement), figures ? number(figures.salesCount) : PLACEHOLDER);
  write(part(document, "revenue", HTMLElement), figures ? money(figures.revenue) : PLACEHOLDER);
  write(part(document, "position", HTMLElement), figures ? number(figures.position) : PLACEHOLDER);
  write(part(document, "age", HTMLElement), figures ? age(ageSeconds) : PLACEHOLDER);

  const asOf = part(document, "as-of", HTMLTimeElement);
  // The time of an empty log is meaningless.
  if (figures === undefined || figures.position === 0) {
    write(asOf, PLACEHOLDER);
  } else {
    writeTime(asOf, figures.asOf, companyTime);
  }
  const licenses = figures ? [...figures.byLicense.keys()] : offers.map((offer) => offer.license);
  for (const license of licenses.toSorted(catalogueOrder)) {
    const totals = figures?.byLicense.get(license);
    const row = rowFor(license);
    write(part(row, "license-name", HTMLElement), licenseName(license));
    write(part(row, "license-count", HTMLElement), totals ? number(totals.salesCount) : PLACEHOLDER);
    write(part(row, "license-revenue", HTMLElement), totals ? money(totals.revenue) : PLACEHOLDER);
    const [of, whole] = [totals?.revenue.amount_minor ?? 0, figures?.revenue.amount_minor ?? 0];
    write(part(row, "license-share", HTMLElement), totals ? share(of, whole) : PLACEHOLDER);
    row.style.setProperty("--share", String(whole === 0 ? 0 : of / whole));
  }
}

/** The table row of a licence, created on first use. */
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

/** Renders today compared with yesterday, or placeholders. */
export function updateDays(days: Days | undefined, failure: Failure | undefined): void {
  writeFailure(part(document, "days-failure", HTMLElement), failure, days ? "day.outdated" : "day.failed");
  const tiles = [
    ["today", days?.today],
    ["yesterday", days?.yesterday],
  ] as const;
  for (const [name, totals] of tiles) {
    write(part(document, `${name}-revenue`, HTMLElement), totals ? money(totals.revenue) : PLACEHOLDER);
    write(part(document, `${name}-count`, HTMLElement), totals ? sales(totals.salesCount) : PLACEHOLDER);
  }
  write(part(document, "today-comparison", HTMLElement), days ? comparison(days) : PLACEHOLDER);
}

function comparison({ today, yesterdayByNow: { revenue }, now }: Days): string {
  const known = { time: clock(now, { timeStyle: "short" }), revenue: money(revenue) };
  // There is no percentage of zero.
  return revenue.amount_minor === 0
    ? t("day.comparison", known)
    : t("day.comparisonChange", { ...known, change: change(revenue.amount_minor, today.revenue.amount_minor) });
}
