/** The panel with the chart of revenue and number of sales, and the same data as a table. */
import { csvAddress, type History, type Interval } from "./api";
import { catalogueOrder, offers } from "./catalogue";
import type { Chart, createChart } from "./chart";
import { type Failure, failureFromError, type Outcome } from "./client";
import { bucketName, resetTexts, summaryOf, tickName } from "./history-texts";
import { licenseName, money, number, part, sales, t, shortMoney, write, writeFailure } from "./page";
import { type Choice, spanOf, ticksOf, ambiguousHours } from "./span";
import { TIME_ZONE, wall } from "./zone";
// Imported here rather than by the chart: Vite does not retry a style sheet of a dynamic import that failed to load.
import "uplot/dist/uPlot.min.css";

/** The selected part of the history, as far as it is loaded. */
export interface Shown {
  choice: Choice;
  history: History | undefined;
  failure: Failure | undefined;
}

const form = part(document, "span", HTMLFormElement);
const date = part(form, "date", HTMLInputElement);
const now = part(form, "now", HTMLButtonElement);
const csv = part(form, "csv", HTMLAnchorElement);
const summary = part(document, "history-summary", HTMLElement);
const failureNotice = part(document, "history-failure", HTMLElement);
const plot = part(document, "plot", HTMLElement);
const empty = part(plot, "plot-empty", HTMLElement);
const tip = part(plot, "tip", HTMLElement);
const legend = part(document, "legend", HTMLElement);
const details = part(document, "history-details", HTMLDetailsElement);
const series = part(document, "series", HTMLTableSectionElement);
const seriesHead = part(document, "series-head", HTMLTableRowElement);

let chart: Chart | undefined;
let shown: (Shown & { chartFailure: Failure | undefined; language: string }) | undefined;
/** The bucket under the pointer. */
let pointed: { index: number; x: number } | undefined;
/** Escape hides the tooltip until the pointer moves again. */
let isDismissed = false;

export function listen(choose: (choice: Choice) => void): void {
  const chosen = (): void => {
    const interval = new FormData(form).get("interval") as Interval;
    // A date that is being typed is incomplete. The previous selection stays until the new one is valid.
    date.ariaInvalid = String(!date.validity.valid);
    const typed = date.value === "" ? undefined : date.value;
    const choice = { interval, date: date.validity.valid ? typed : shown?.choice.date };
    if (choice.interval !== shown?.choice.interval || choice.date !== shown.choice.date) {
      choose(choice);
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
  });
  form.addEventListener("change", chosen);
  now.addEventListener("click", () => {
    date.value = "";
    date.focus();
    chosen();
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") {
      isDismissed = true;
      updateTip();
    }
  });
  plot.addEventListener("pointermove", () => {
    isDismissed = false;
  });
  details.addEventListener("toggle", () => {
    if (shown !== undefined) {
      updateTable(shown);
    }
  });
}

/** The chart is loaded after the page, so the figures do not wait for it. */
export async function loadChart(): Promise<Outcome<typeof createChart>> {
  try {
    return { ok: true, value: (await import("./chart")).createChart };
  } catch (error) {
    return { ok: false, failure: failureFromError(error) };
  }
}

export function addChart(create: typeof createChart): void {
  chart = create(plot, (index, x) => {
    pointed = index === undefined ? undefined : { index, x };
    updateTip();
  });
  updateChart();
}

/** The page renders every second; the chart and its 1,500 rows only when their data has changed. */
export function updateHistory({ choice, history, failure }: Shown, chartFailure: Failure | undefined): void {
  const language = document.documentElement.lang;
  const isSame = shown?.choice === choice && shown.history === history && shown.failure === failure;
  if (isSame && shown?.chartFailure === chartFailure && shown?.language === language) {
    return;
  }
  shown = { choice, history, failure, chartFailure, language };
  now.disabled = choice.date === undefined;
  date.max = wall(new Date()).date;
  csv.href = csvAddress(spanOf(choice));
  // Outdated figures stay visible.
  const failed = history ? "history.outdated" : "history.failed";
  writeFailure(failureNotice, failure ?? chartFailure, failure ? failed : "history.noChart");
  const waiting = failure === undefined ? t("history.loading") : "";
  write(summary, history ? summaryOf(history, choice.interval) : waiting);
  empty.hidden = history === undefined || history.buckets.some(({ salesCount }) => salesCount > 0);
  write(empty, t("history.empty"));
  updateLegend(licensesOf(history));
  updateTable(shown);
  updateChart();
}

function licensesOf(history: History | undefined): string[] {
  const known = history?.buckets.flatMap(({ byLicense }) => [...byLicense.keys()]) ?? [];
  return [...new Set([...offers.map(({ license }) => license), ...known])].sort(catalogueOrder);
}

/** The indexes of the buckets that contain a reset. */
function resetsOf({ buckets, resets }: History): number[] {
  return resets
    .map(({ resetAt }) => buckets.findIndex(({ from, to }) => from <= resetAt && resetAt < to))
    .filter((index) => index >= 0);
}

function updateLegend(licenses: readonly string[]): void {
  const names = [...licenses.map(licenseName), t("history.resetMark")];
  fillList(legend, "li", names.length);
  names.forEach((name, index) => {
    const item = legend.children[index] as HTMLElement;
    item.classList.toggle("reset-mark", index === licenses.length);
    write(item, name);
  });
}

/** While nothing is loaded, the chart is empty: the previous data belongs to another selection or another user. */
const EMPTY_HISTORY: History = { buckets: [], resets: [] };

function updateChart(): void {
  if (chart === undefined || shown === undefined) {
    return;
  }
  const { history = EMPTY_HISTORY, choice } = shown;
  const { buckets } = history;
  const currency = buckets[0]?.revenue.currency ?? "EUR";
  chart.draw(
    { buckets, licenses: licensesOf(history), resets: resetsOf(history) },
    {
      tick: (index) => (buckets[index] ? tickName(buckets[index], choice.interval) : ""),
      ticks: ticksOf(buckets, choice.interval),
      revenue: (amount) => shortMoney({ amount_minor: Math.round(amount), currency }),
      axes: { revenue: t("sales.revenue"), count: t("sales.count") },
      count: (count) => (Number.isInteger(count) ? number(count) : ""),
    },
  );
  updateTip();
}

function updateTip(): void {
  const history = shown?.history;
  const bucket = pointed === undefined || isDismissed ? undefined : history?.buckets[pointed.index];
  tip.hidden = bucket === undefined;
  if (bucket === undefined || pointed === undefined || history === undefined || shown === undefined) {
    tip.replaceChildren();
    return;
  }
  const isAmbiguous = ambiguousHours(history.buckets).has(bucket);
  const lines = [
    bucketName(bucket, shown.choice.interval, isAmbiguous),
    `${money(bucket.revenue)} · ${sales(bucket.salesCount)}`,
    ...licensesOf(history)
      .map((license) => [license, bucket.byLicense.get(license)] as const)
      .filter(([, totals]) => (totals?.salesCount ?? 0) > 0)
      .map(([license, totals]) => `${licenseName(license)}: ${number(totals?.salesCount ?? 0)}`),
    ...resetTexts(history, bucket),
  ];
  fillList(tip, "p", lines.length);
  lines.forEach((line, index) => {
    write(tip.children[index] as HTMLElement, line);
  });
  const isLeft = pointed.x > plot.clientWidth / 2;
  const x = isLeft ? pointed.x - tip.offsetWidth - 12 : pointed.x + 12;
  tip.style.translate = `${Math.max(0, Math.min(x, plot.clientWidth - tip.offsetWidth))}px 0`;
}

/** The table is filled only while it is open. */
function updateTable({ history, choice }: Shown): void {
  if (!details.open || history === undefined) {
    series.replaceChildren();
    return;
  }
  const licenses = licensesOf(history);
  write(part(document, "history-caption", HTMLElement), t("history.caption", { zone: TIME_ZONE }));
  fillList(seriesHead, "th", 3 + licenses.length + 1);
  [...licenses.map(licenseName), t("history.resetMark")].forEach((name, index) => {
    const cell = seriesHead.children[3 + index] as HTMLTableCellElement;
    cell.scope = "col";
    write(cell, name);
  });
  const ambiguous = ambiguousHours(history.buckets);
  fillList(series, "tr", history.buckets.length);
  // Newest first.
  history.buckets.toReversed().forEach((bucket, index) => {
    const row = series.rows[index];
    if (row === undefined) {
      return;
    }
    const cells = [
      bucketName(bucket, choice.interval, ambiguous.has(bucket)),
      number(bucket.salesCount),
      money(bucket.revenue),
      ...licenses.map((license) => number(bucket.byLicense.get(license)?.salesCount ?? 0)),
      resetTexts(history, bucket).join("; "),
    ];
    if (row.children.length === 0) {
      const head = row.appendChild(document.createElement("th"));
      head.scope = "row";
    }
    fillList(row, "td", cells.length);
    cells.forEach((text, place) => {
      write(row.children[place] as HTMLElement, text);
    });
  });
}

/** Adds or removes children until there are `length`. */
function fillList(parent: HTMLElement, tag: "li" | "p" | "td" | "th" | "tr", length: number): void {
  while (parent.childElementCount < length) {
    parent.append(document.createElement(tag));
  }
  while (parent.childElementCount > length) {
    parent.lastElementChild?.remove();
  }
}
