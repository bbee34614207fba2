// First: removes the code from the page's address.
import { takeUrlParams, urlParams } from "./url-params";
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
  SESSION_EXISTS,
  signInWith,
} from "./api";
import { type Days, readDays } from "./days";
import { updateDays, updateFigures } from "./figures";
import { addChart, listen as listenToSpan, loadChart, type Shown, updateHistory } from "./history";
import { LATEST_ROWS, updateLatest } from "./latest";
import { onLanguageChange, part, t, write } from "./page";
import { refresh } from "./refresh";
import { focusConfirm, listen as listenToReset, type Resetting, updateReset } from "./resetting";
import {
  declined,
  ended,
  initialVisit,
  mayReset,
  notSignedIn,
  offering,
  signedOut,
  signingIn,
  viewOf,
  type Visit,
  withoutRole,
  withSession,
  withSignInMethods,
} from "./session";
import { focusHeading, focusToken, focusView, listen, updateSignIn } from "./sign-in";
import { type Choice, spanOf } from "./span";
import { type StreamMessage, subscribe } from "./stream";
import type { TextKey } from "./texts";

/** The figures are confirmed every five seconds. Two missed confirmations mark them as outdated. */
const STALE_AFTER_SECONDS = 12;
/** Faster updates would be unreadable. */
const LATEST_EVERY_MS = 1_000;
/** Every response is the complete history, too much to load for each purchase. */
const HISTORY_EVERY_MS = 3_000;

/** The data that only authorized users may see. */
interface Sales {
  figures: Figures | undefined;
  /** The id of the figures in the stream. */
  figuresId: string | undefined;
  /** When the figures were last confirmed to be complete, in milliseconds of the browser's clock. */
  confirmedAt: number | undefined;
  /** Why the stream is disconnected. */
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
  /** Why the chart could not be loaded. */
  chartFailure: Failure | undefined;
}

const noSales: Omit<Sales, "shown"> = {
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

const nothingLoaded = (choice: Choice): Shown => ({ choice, history: undefined, failure: undefined });

const state: State = {
  visit: initialVisit(urlParams.issuerFailed),
  chartFailure: undefined,
  ...noSales,
  shown: nothingLoaded({ interval: "minute", date: undefined }),
};

const health = part(document, "health", HTMLElement);
const message = part(document, "message", HTMLElement);
const figures = part(document, "figures", HTMLElement);
listenToReset({
  open() {
    state.resetting = { key: crypto.randomUUID(), reason: undefined, pending: false, failure: undefined };
    update(state);
  },
  cancel() {
    if (state.resetting?.pending !== true) {
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
listen({
  signIn: (token) => void signIn(token),
  signOut: () => void signOut(),
  acceptOffer() {
    if (state.visit.offered !== undefined) {
      void signIn(state.visit.offered, true);
    }
  },
  declineOffer() {
    state.visit = declined(state.visit);
    update(state);
    focusHeading();
  },
});
// Pasting an address with a code into the open page does not reload it.
addEventListener("hashchange", () => {
  const { code } = takeUrlParams();
  if (code !== undefined) {
    void signIn(code);
  }
});
// The user may have signed in in another tab.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && viewOf(state.visit) !== "figures") {
    void recheckSession();
  }
});

listenToSpan((choice) => {
  state.shown = nothingLoaded(choice);
  history.refetch();
  update(state);
});
onLanguageChange(() => {
  update(state);
});

const session = refresh(0, readSession, onSession);
const chart = refresh(0, loadChart, (outcome) => {
  state.chartFailure = outcome.ok ? undefined : outcome.failure;
  if (outcome.ok) {
    chart.stop();
    addChart(outcome.value);
  }
  update(state);
});
const stream = subscribe(() => state.figuresId, onMessage);
const days = refresh(
  HISTORY_EVERY_MS,
  (signal) => readDays(new Date(), signal),
  (outcome) => {
    state.daysFailure = outcome.ok ? undefined : outcome.failure;
    apply(outcome, (value) => (state.days = value));
  },
);
const history = refresh(
  HISTORY_EVERY_MS,
  (signal) => readHistory(spanOf(state.shown.choice), signal),
  (outcome) => {
    state.shown.failure = outcome.ok ? undefined : outcome.failure;
    apply(outcome, (value) => (state.shown.history = value));
  },
);
const latest = refresh(
  LATEST_EVERY_MS,
  (signal) => readLatest(LATEST_ROWS, signal),
  (outcome) => {
    state.latestFailure = outcome.ok ? undefined : outcome.failure;
    apply(outcome, ({ purchases, position }) => {
      // Replicas may be milliseconds apart: a list older than the figures is fetched again.
      if (position < (state.figures?.position ?? 0)) {
        latest.invalidate();
      } else {
        state.latest = purchases;
      }
    });
  },
);

update(state);
if (urlParams.code === undefined) {
  session.refetch();
} else {
  void signIn(urlParams.code);
}
chart.refetch();
let minute = thisMinute();
let timer = setTimeout(tick, 1000);
document.addEventListener("visibilitychange", tick);

/** Runs every second while the page is visible: the age grows without new messages, and each minute starts a bucket. */
function tick(): void {
  clearTimeout(timer);
  if (document.hidden) {
    return;
  }
  if (minute !== thisMinute()) {
    minute = thisMinute();
    days.invalidate();
    if (state.shown.choice.date === undefined) {
      history.invalidate();
    }
  }
  update(state);
  timer = setTimeout(tick, 1000);
}

function thisMinute(): number {
  return Math.floor(Date.now() / 60_000);
}

/** Applies a new visit. The figures are loaded, and kept, only for users who may see them. */
function applyVisit(visit: Visit): void {
  const before = viewOf(state.visit);
  const view = viewOf(visit);
  state.visit = visit;
  if (view === "figures" && visit.session !== undefined) {
    stream.start();
    days.refetch();
    history.refetch();
    latest.refetch();
  } else {
    stopLoading();
    Object.assign(state, noSales, { shown: nothingLoaded(state.shown.choice) });
  }
  update(state);
  if (view !== before) {
    focusView(view, visit);
  }
}

function stopLoading(): void {
  stream.stop();
  days.stop();
  history.stop();
  latest.stop();
}

function onSession(outcome: Outcome<Session>): void {
  if (!outcome.ok) {
    state.failure = outcome.failure;
    update(state);
    return;
  }
  session.stop();
  state.failure = undefined;
  applyVisit(state.visit.ended ? withSignInMethods(state.visit, outcome.value) : withSession(state.visit, outcome.value));
}

async function recheckSession(): Promise<void> {
  const outcome = await readSession();
  if (outcome.ok && viewOf(withSession(state.visit, outcome.value)) === "figures" && !state.visit.signingIn) {
    applyVisit(withSession(state.visit, outcome.value));
  }
}

/** Asks before it replaces the session of another token: any page may have opened this one with a token in its address. */
async function signIn(token: string, replace = false): Promise<void> {
  session.stop();
  state.visit = signingIn(state.visit);
  update(state);
  const outcome = await signInWith(token, replace);
  if (outcome.ok) {
    applyVisit(withSession(state.visit, outcome.value));
    return;
  }
  if (outcome.failure.kind === "refused" && outcome.failure.problem === SESSION_EXISTS) {
    state.visit = offering(state.visit, token);
    update(state);
    session.refetch();
    return;
  }
  state.visit = notSignedIn(state.visit, outcome.failure);
  update(state);
  focusToken();
  if (state.visit.session === undefined || state.visit.ended) {
    session.refetch();
  }
}

async function signOut(): Promise<void> {
  stopLoading();
  const outcome = await endSession();
  if (!outcome.ok && outcome.failure.kind !== "unauthenticated") {
    applyVisit({ ...state.visit, failure: outcome.failure });
    return;
  }
  applyVisit(signedOut(state.visit));
  if (outcome.ok && outcome.value !== undefined) {
    location.assign(outcome.value);
  }
}

/** There is no valid session: removes the figures and asks the user to sign in. */
function sessionEnded(): void {
  applyVisit(ended(state.visit));
  session.refetch();
}

/** Applies a response, unless it revokes the access to the figures. */
function apply<T>(outcome: Outcome<T>, store: (value: T) => void): void {
  if (outcome.ok) {
    store(outcome.value);
    update(state);
  } else if (!handleAuthFailure(outcome.failure)) {
    update(state);
  }
}

/** Handles an expired session or a revoked role; returns whether it was one. */
function handleAuthFailure(failure: Failure): boolean {
  if (failure.kind === "unauthenticated") {
    sessionEnded();
    return true;
  }
  if (failure.kind === "forbidden" && state.visit.session?.access === "closed") {
    applyVisit(withoutRole(state.visit));
    return true;
  }
  return false;
}

function onMessage(received: StreamMessage): void {
  switch (received.kind) {
    case "totals":
      state.failure = undefined;
      onFigures(received.figures, received.id);
      break;
    case "age":
      state.failure = undefined;
      state.confirmedAt = Date.now() - received.ageMs;
      break;
    case "lost":
      if (handleAuthFailure(received.failure)) {
        return;
      }
      state.failure = received.failure;
      break;
  }
  update(state);
}

/**
 * Ignores figures of an earlier position, because replicas may be milliseconds apart and the totals would flicker. If
 * the current figures are no longer confirmed, any response replaces them.
 */
function onFigures(figures: Figures, id: string): void {
  if (state.figures !== undefined && figures.position < state.figures.position && !isStale(state)) {
    return;
  }
  const before = state.figures;
  state.figures = figures;
  state.figuresId = id;
  if (before !== undefined) {
    days.invalidate();
    // New figures at the same position come from a rebuild, which may have corrected any time.
    const isCorrection = figures.position === before.position;
    historyChanged(isCorrection || before.position === 0 ? new Date(0) : before.asOf);
    latest.invalidate();
  }
}

/** Reloads the history unless its selected part ended before `since`, the earliest time that may have changed. */
function historyChanged(since: Date): void {
  const { to } = spanOf(state.shown.choice);
  if (to === undefined || since < to) {
    history.invalidate();
  }
}

async function reset(resetting: Resetting, reason: string): Promise<void> {
  resetting.reason ??= reason;
  resetting.pending = true;
  update(state);

  const outcome = await resetSales(resetting.key, resetting.reason);
  resetting.pending = false;
  if (state.resetting !== resetting) {
    return; // The session ended during the request.
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
    focusConfirm();
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

/** Renders the whole page from the state. */
function update(state: State): void {
  const now = healthOf(state);
  const view = viewOf(state.visit);
  health.hidden = view !== "figures";
  health.dataset["health"] = now;
  write(health, t(`health.${now}`));
  write(message, t(messageFor(state, now)));
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
        return "signIn.pending";
      }
      return health === "offline" && figures === undefined ? "message.missing" : `message.${health}`;
    case "sign-in":
      if (visit.ended) {
        return "message.ended";
      }
      return visit.session?.signIn.length === 0 ? "message.unsupportedSignIn" : "message.signIn";
    case "no-access":
      return "message.noAccess";
  }
}
