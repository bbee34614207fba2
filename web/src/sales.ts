import { type Failure, type Figures, type Outcome, type Reading, readSales, type Reset, resetSales } from "./api";
import { catalogueOrder, offers } from "./catalogue";
import { age, dateTime, explain, licenseName, money, number, part, say, write, writeTime } from "./page";
import { poll } from "./poll";

/** Figures are confirmed every second or two; past this the reader should know that they are old. */
const STALE_AFTER_SECONDS = 5;

/** One reset that the reader has asked for: it keeps its key until it has happened or is given up. */
interface Resetting {
  key: string;
  underWay: boolean;
  failure: Failure | undefined;
}

interface State {
  figures: Figures | undefined;
  tag: string | undefined;
  /** When it was last certain that nothing is missing from the figures, in milliseconds of this computer's clock. */
  confirmedAt: number;
  failure: Failure | undefined;
  resetting: Resetting | undefined;
  lastReset: Reset | undefined;
}

const state: State = {
  figures: undefined,
  tag: undefined,
  confirmedAt: 0,
  failure: undefined,
  resetting: undefined,
  lastReset: undefined,
};

const health = part(document, "health", HTMLElement);
const message = part(document, "message", HTMLElement);
const dialog = part(document, "dialog", HTMLDialogElement);
const cancelReset = part(dialog, "cancel-reset", HTMLButtonElement);
const confirmReset = part(dialog, "confirm-reset", HTMLButtonElement);
const resetFailure = part(dialog, "reset-failure", HTMLElement);

part(document, "open-reset", HTMLButtonElement).addEventListener("click", () => {
  state.resetting = { key: crypto.randomUUID(), underWay: false, failure: undefined };
  update(state);
});
cancelReset.addEventListener("click", () => {
  giveUpReset();
});
// The Escape key asks first, and is heard only while nothing is under way; some browsers close at the second press.
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  giveUpReset();
});
dialog.addEventListener("close", () => {
  giveUpReset();
});
confirmReset.addEventListener("click", () => {
  if (state.resetting !== undefined) {
    void reset(state.resetting);
  }
});

update(state);
const askNow = poll((signal) => {
  const minPosition = awaitedPosition();
  return readSales(minPosition === undefined ? { tag: state.tag } : { minPosition }, signal);
}, take);
// The age grows also while no answer comes.
setInterval(() => {
  if (!document.hidden) {
    update(state);
  }
}, 1000);

function take(outcome: Outcome<Reading>): void {
  if (outcome.ok) {
    state.failure = undefined;
    takeReading(outcome.value);
  } else {
    state.failure = outcome.failure;
  }
  update(state);
}

/**
 * Replicas may be milliseconds apart: figures from an earlier position than those on the page are passed over, so that
 * the totals don't flicker back. If nobody confirms ours any more, then whatever is answered is the truth.
 */
function takeReading({ figures, tag, ageSeconds }: Reading): void {
  if (figures !== undefined) {
    if (state.figures !== undefined && figures.position < state.figures.position && !isStale(state)) {
      return;
    }
    state.figures = figures;
    state.tag = tag;
  }
  if (awaitedPosition() === undefined) {
    state.confirmedAt = Date.now() - ageSeconds * 1000;
  }
}

async function reset(resetting: Resetting): Promise<void> {
  resetting.underWay = true;
  update(state);

  const outcome = await resetSales(resetting.key);
  resetting.underWay = false;
  if (outcome.ok) {
    state.resetting = undefined;
    state.lastReset = outcome.value;
    askNow();
    update(state);
  } else {
    resetting.failure = outcome.failure;
    update(state);
    confirmReset.focus();
  }
}

function giveUpReset(): void {
  if (state.resetting?.underWay !== true) {
    state.resetting = undefined;
  }
  update(state);
}

/** After a reset only figures that reflect it will do. */
function awaitedPosition(): number | undefined {
  const position = state.lastReset?.position;
  return position !== undefined && (state.figures?.position ?? 0) < position ? position : undefined;
}

function ageSeconds({ confirmedAt }: State): number {
  return Math.max(0, (Date.now() - confirmedAt) / 1000);
}

function isStale(state: State): boolean {
  return ageSeconds(state) > STALE_AFTER_SECONDS;
}

type Health = "loading" | "live" | "stale" | "offline";

function healthOf(state: State): Health {
  if (state.figures === undefined) {
    return state.failure === undefined ? "loading" : "offline";
  }
  if (!isStale(state)) {
    return "live";
  }
  return state.failure === undefined ? "stale" : "offline";
}

/** Brings the whole page in line with the state, whatever it showed before. */
function update(state: State): void {
  const now = healthOf(state);
  health.dataset["health"] = now;
  write(health, say(`health.${now}`));
  write(message, messageFor(state, now));
  updateFigures(state);
  updateReset(state);
}

function messageFor({ figures }: State, health: Health): string {
  if (health === "live" && figures?.salesCount === 0) {
    return say("message.empty");
  }
  return say(health === "offline" && figures === undefined ? "message.missing" : `message.${health}`);
}

const NOTHING_YET = "–";

function updateFigures(state: State): void {
  const { figures } = state;
  write(part(document, "count", HTMLElement), figures ? number(figures.salesCount) : NOTHING_YET);
  write(part(document, "revenue", HTMLElement), figures ? money(figures.revenue) : NOTHING_YET);
  write(part(document, "position", HTMLElement), figures ? number(figures.position) : NOTHING_YET);
  write(part(document, "age", HTMLElement), figures ? age(ageSeconds(state)) : NOTHING_YET);

  const asOf = part(document, "as-of", HTMLTimeElement);
  if (figures === undefined) {
    write(asOf, NOTHING_YET);
  } else {
    writeTime(asOf, figures.asOf);
  }
  const licenses = figures ? [...figures.byLicense.keys()] : offers.map((offer) => offer.license);
  for (const license of licenses.toSorted(catalogueOrder)) {
    const totals = figures?.byLicense.get(license);
    const row = rowFor(license);
    write(part(row, "license-count", HTMLElement), totals ? number(totals.salesCount) : NOTHING_YET);
    write(part(row, "license-revenue", HTMLElement), totals ? money(totals.revenue) : NOTHING_YET);
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
  write(part(row, "license-name", HTMLElement), licenseName(license));
  rows.append(row);
  return row;
}

function updateReset({ resetting, lastReset }: State): void {
  if (resetting !== undefined && !dialog.open) {
    dialog.showModal();
  } else if (resetting === undefined && dialog.open) {
    dialog.close();
  }
  const underWay = resetting?.underWay === true;
  cancelReset.disabled = underWay;
  confirmReset.disabled = underWay;
  confirmReset.classList.toggle("busy", underWay);
  write(confirmReset, say(confirmText(resetting)));
  resetFailure.hidden = resetting?.failure === undefined || underWay;
  write(resetFailure, resetting?.failure ? explain(resetting.failure) : "");

  const done = lastReset ? say("reset.done", { time: dateTime(lastReset.resetAt) }) : "";
  write(part(document, "reset-done", HTMLElement), done);
}

function confirmText(resetting: Resetting | undefined): "reset.underWay" | "reset.again" | "reset.confirm" {
  if (resetting?.underWay === true) {
    return "reset.underWay";
  }
  return resetting?.failure === undefined ? "reset.confirm" : "reset.again";
}
