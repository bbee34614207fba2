// First: it takes what must not stay there out of the page's address.
import { arrival, takeArrival } from "./address";
import {
  endSession,
  type Failure,
  type Figures,
  type Outcome,
  type Purchase,
  readHistory,
  readLatest,
  readSession,
  type Reset,
  resetSales,
  type Session,
  signInWith,
} from "./api";
import { type Days, readDays } from "./days";
import { updateDays, updateFigures } from "./figures";
import { addChart, listen as listenToSpan, loadChart, type Shown, updateHistory } from "./history";
import { LATEST, updateLatest } from "./latest";
import { onLanguage, part, say, write } from "./page";
import { refresh } from "./refresh";
import { leadToConfirmation, listen as listenToReset, type Resetting, updateReset } from "./resetting";
import {
  answered,
  arriving,
  ended,
  mayReset,
  notSignedIn,
  signedOut,
  signingIn,
  viewOf,
  type Visit,
  waysLearnt,
  withheld,
} from "./session";
import { leadTo, leadToToken, listen, updateSignIn } from "./sign-in";
import { type Choice, spanOf } from "./span";
import { follow, type News } from "./stream";
import type { TextKey } from "./texts";

/** Figures are confirmed every five seconds; when two of those are missing the reader should know that they are old. */
const STALE_AFTER_SECONDS = 12;
/** As often as a reader can follow purchases one by one. */
const LATEST_EVERY_MS = 1_000;
/** The history is sent as a whole each time; one bar that grows is not worth more. */
const HISTORY_EVERY_MS = 3_000;

/** What one sees only as long as one may. */
interface Sales {
  figures: Figures | undefined;
  /** What the stream calls them. */
  figuresId: string | undefined;
  /** When it was last certain that nothing is missing from the figures, in milliseconds of this computer's clock. */
  confirmedAt: number | undefined;
  /** Why the stream was lost, until it is there again. */
  failure: Failure | undefined;
  days: Days | undefined;
  daysFailure: Failure | undefined;
  shown: Shown;
  latest: readonly Purchase[] | undefined;
  latestFailure: Failure | undefined;
  resetting: Resetting | undefined;
  lastReset: Reset | undefined;
}

interface State extends Sales {
  visit: Visit;
  /** Why there is no chart, until there is. */
  chartFailure: Failure | undefined;
}

const nothingKnown: Omit<Sales, "shown"> = {
  figures: undefined,
  figuresId: undefined,
  confirmedAt: undefined,
  failure: undefined,
  days: undefined,
  daysFailure: undefined,
  latest: undefined,
  latestFailure: undefined,
  resetting: undefined,
  lastReset: undefined,
};

const nothingShown = (choice: Choice): Shown => ({ choice, history: undefined, failure: undefined });

const state: State = {
  visit: arriving(arrival.cameBack),
  chartFailure: undefined,
  ...nothingKnown,
  shown: nothingShown({ interval: "minute", date: undefined }),
};

const health = part(document, "health", HTMLElement);
const message = part(document, "message", HTMLElement);
const figures = part(document, "figures", HTMLElement);
listenToReset({
  open() {
    state.resetting = { key: crypto.randomUUID(), reason: undefined, underWay: false, failure: undefined };
    update(state);
  },
  giveUp() {
    if (state.resetting?.underWay !== true) {
      state.resetting = undefined;
    }
    update(state);
  },
  confirm(reason) {
    if (state.resetting !== undefined) {
      void reset(state.resetting, reason);
    }
  },
});
listen({ signIn: (token) => void signIn(token), signOut: () => void signOut() });
// An address with a token that is pasted into the open page loads nothing.
addEventListener("hashchange", () => {
  const { token } = takeArrival();
  if (token !== undefined) {
    void signIn(token);
  }
});
// The reader may have signed in elsewhere meanwhile.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && viewOf(state.visit) !== "figures") {
    void lookAgain();
  }
});

listenToSpan((choice) => {
  state.shown = nothingShown(choice);
  history.askNow();
  update(state);
});
onLanguage(() => {
  update(state);
});

const asking = refresh(0, readSession, takeSession);
const chart = refresh(0, loadChart, (outcome) => {
  state.chartFailure = outcome.ok ? undefined : outcome.failure;
  if (outcome.ok) {
    chart.stop();
    addChart(outcome.value);
  }
  update(state);
});
const stream = follow(() => state.figuresId, takeNews);
const days = refresh(
  HISTORY_EVERY_MS,
  (signal) => readDays(new Date(), signal),
  (outcome) => {
    state.daysFailure = outcome.ok ? undefined : outcome.failure;
    take(outcome, (value) => (state.days = value));
  },
);
const history = refresh(
  HISTORY_EVERY_MS,
  (signal) => readHistory(spanOf(state.shown.choice), signal),
  (outcome) => {
    state.shown.failure = outcome.ok ? undefined : outcome.failure;
    take(outcome, (value) => (state.shown.history = value));
  },
);
const latest = refresh(
  LATEST_EVERY_MS,
  (signal) => readLatest(LATEST, signal),
  (outcome) => {
    state.latestFailure = outcome.ok ? undefined : outcome.failure;
    take(outcome, (value) => (state.latest = value));
  },
);

update(state);
if (arrival.token === undefined) {
  asking.askNow();
} else {
  void signIn(arrival.token);
}
chart.askNow();
let minute = thisMinute();
let timer = setTimeout(tick, 1000);
document.addEventListener("visibilitychange", tick);

/** While the page is visible: the age grows also while nothing comes, and each minute begins a new bucket. */
function tick(): void {
  clearTimeout(timer);
  if (document.hidden) {
    return;
  }
  if (minute !== thisMinute()) {
    minute = thisMinute();
    days.changed();
    if (state.shown.choice.date === undefined) {
      history.changed();
    }
  }
  update(state);
  timer = setTimeout(tick, 1000);
}

function thisMinute(): number {
  return Math.floor(Date.now() / 60_000);
}

/** Goes on with whoever is looking now: figures are asked for, and kept, only for those who may see them. */
function goOn(visit: Visit): void {
  const before = viewOf(state.visit);
  const view = viewOf(visit);
  state.visit = visit;
  if (view === "figures" && visit.session !== undefined) {
    stream.start();
    days.askNow();
    history.askNow();
    latest.askNow();
  } else {
    stopFollowing();
    Object.assign(state, nothingKnown, { shown: nothingShown(state.shown.choice) });
  }
  update(state);
  if (view !== before) {
    leadTo(view, visit);
  }
}

function stopFollowing(): void {
  stream.stop();
  days.stop();
  history.stop();
  latest.stop();
}

function takeSession(outcome: Outcome<Session>): void {
  if (!outcome.ok) {
    state.failure = outcome.failure;
    update(state);
    return;
  }
  asking.stop();
  state.failure = undefined;
  goOn(state.visit.ended ? waysLearnt(state.visit, outcome.value) : answered(state.visit, outcome.value));
}

async function lookAgain(): Promise<void> {
  const outcome = await readSession();
  if (outcome.ok && viewOf(answered(state.visit, outcome.value)) === "figures" && !state.visit.signingIn) {
    goOn(answered(state.visit, outcome.value));
  }
}

async function signIn(token: string): Promise<void> {
  asking.stop();
  state.visit = signingIn(state.visit);
  update(state);
  const outcome = await signInWith(token);
  if (outcome.ok) {
    goOn(answered(state.visit, outcome.value));
    return;
  }
  state.visit = notSignedIn(state.visit, outcome.failure);
  update(state);
  leadToToken();
  if (state.visit.session === undefined || state.visit.ended) {
    asking.askNow();
  }
}

async function signOut(): Promise<void> {
  stopFollowing();
  const outcome = await endSession();
  if (!outcome.ok && outcome.failure.kind !== "unauthenticated") {
    goOn({ ...state.visit, trouble: outcome.failure });
    return;
  }
  goOn(signedOut(state.visit));
  if (outcome.ok && outcome.value !== undefined) {
    location.assign(outcome.value);
  }
}

/** The session is over, or never was: the figures go, and the reader is asked to sign in. */
function sessionEnded(): void {
  goOn(ended(state.visit));
  asking.askNow();
}

/** Takes an answer, unless it says that the reader may not see it any more. */
function take<T>(outcome: Outcome<T>, keep: (value: T) => void): void {
  if (outcome.ok) {
    keep(outcome.value);
    update(state);
  } else if (!isShutOut(outcome.failure)) {
    update(state);
  }
}

/** What becomes of a reader whose session is over, or who has lost the role. */
function isShutOut(failure: Failure): boolean {
  if (failure.kind === "unauthenticated") {
    sessionEnded();
    return true;
  }
  if (failure.kind === "forbidden" && state.visit.session?.access === "closed") {
    goOn(withheld(state.visit));
    return true;
  }
  return false;
}

function takeNews(news: News): void {
  switch (news.kind) {
    case "totals":
      state.failure = undefined;
      takeFigures(news.figures, news.id);
      break;
    case "age":
      state.failure = undefined;
      state.confirmedAt = Date.now() - news.ageMs;
      break;
    case "lost":
      if (isShutOut(news.failure)) {
        return;
      }
      state.failure = news.failure;
      break;
  }
  update(state);
}

/**
 * Replicas may be milliseconds apart: figures from an earlier position than those on the page are passed over, so that
 * the totals don't flicker back. If nobody confirms ours any more, then whatever is answered is the truth.
 */
function takeFigures(figures: Figures, id: string): void {
  if (state.figures !== undefined && figures.position < state.figures.position && !isStale(state)) {
    return;
  }
  const before = state.figures;
  state.figures = figures;
  state.figuresId = id;
  if (before !== undefined) {
    days.changed();
    // At the same position, a rebuild has put something right, whenever it happened.
    const isCorrection = figures.position === before.position;
    historyChanged(isCorrection || before.position === 0 ? new Date(0) : before.asOf);
    latest.changed();
  }
}

/** A part of the history that had ended by the time of the last event that was counted is what it was. */
function historyChanged(since: Date): void {
  const { to } = spanOf(state.shown.choice);
  if (to === undefined || since < to) {
    history.changed();
  }
}

async function reset(resetting: Resetting, reason: string): Promise<void> {
  resetting.reason ??= reason;
  resetting.underWay = true;
  update(state);

  const outcome = await resetSales(resetting.key, resetting.reason);
  resetting.underWay = false;
  if (state.resetting !== resetting) {
    return; // The session ended meanwhile.
  }
  if (outcome.ok) {
    state.resetting = undefined;
    state.lastReset = outcome.value;
    historyChanged(outcome.value.resetAt);
    update(state);
  } else if (outcome.failure.kind === "unauthenticated") {
    sessionEnded();
  } else {
    resetting.failure = outcome.failure;
    update(state);
    leadToConfirmation();
  }
}

function ageSeconds({ confirmedAt }: State): number {
  return confirmedAt === undefined ? 0 : Math.max(0, (Date.now() - confirmedAt) / 1000);
}

function isStale(state: State): boolean {
  return ageSeconds(state) > STALE_AFTER_SECONDS;
}

type Health = "loading" | "live" | "reconnecting" | "stale" | "offline";

function healthOf(state: State): Health {
  if (state.figures === undefined) {
    return state.failure === undefined ? "loading" : "offline";
  }
  if (state.failure === undefined) {
    return isStale(state) ? "stale" : "live";
  }
  return isStale(state) ? "offline" : "reconnecting";
}

/** Brings the whole page in line with the state, whatever it showed before. */
function update(state: State): void {
  const now = healthOf(state);
  const view = viewOf(state.visit);
  health.hidden = view !== "figures";
  health.dataset["health"] = now;
  write(health, say(`health.${now}`));
  write(message, say(messageFor(state, now)));
  figures.hidden = view !== "figures";
  updateSignIn(state.visit);
  updateFigures(state.figures, ageSeconds(state));
  updateDays(state.days, state.daysFailure);
  updateHistory(state.shown, state.chartFailure);
  updateLatest(state.latest, state.latestFailure);
  updateReset(state.resetting, state.lastReset, mayReset(state.visit));
}

function messageFor({ figures, visit }: State, health: Health): TextKey {
  switch (viewOf(visit)) {
    case "figures":
      if (health === "live" && figures?.salesCount === 0) {
        return "message.empty";
      }
      if (health === "loading" && visit.signingIn) {
        return "signIn.underWay";
      }
      return health === "offline" && figures === undefined ? "message.missing" : `message.${health}`;
    case "sign-in":
      if (visit.ended) {
        return "message.ended";
      }
      return visit.session?.signIn.length === 0 ? "message.noWay" : "message.signIn";
    case "no-access":
      return "message.noAccess";
  }
}
