/** Days and hours in the company's time zone, regardless of the reader's. */

/** The company's time zone, also sent to the services. */
export const TIME_ZONE = "Europe/Berlin";

const DAY_MS = 86_400_000;

const parts = new Intl.DateTimeFormat("en-CA", {
  timeZone: TIME_ZONE,
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

export interface Wall {
  /** `2026-10-25` */
  date: string;
  hour: number;
  minute: number;
}

/** The local time in the company's time zone. */
export function wall(time: Date): Wall {
  const { date, hour, minute } = shownAt(time);
  return { date, hour: Number(hour), minute: Number(minute) };
}

function shownAt(time: Date): { date: string; hour: string; minute: string; second: string } {
  const shown = Object.fromEntries(parts.formatToParts(time).map(({ type, value }) => [type, value]));
  const { year = "", month = "", day = "", hour = "", minute = "", second = "" } = shown;
  // Years before 1000 are formatted without leading zeros.
  return { date: `${year.padStart(4, "0")}-${month}-${day}`, hour, minute, second };
}

/** The UTC offset of the company's time zone. */
function offsetMs(time: Date): number {
  const { date, hour, minute, second } = shownAt(time);
  return Date.parse(`${date}T${hour}:${minute}:${second}Z`) - Math.floor(time.getTime() / 1000) * 1000;
}

/** The start of a day. The clocks never change at midnight. */
export function startOf(date: string): Date {
  const asIfUtc = Date.parse(`${date}T00:00:00Z`);
  const first = new Date(asIfUtc - offsetMs(new Date(asIfUtc)));
  return new Date(asIfUtc - offsetMs(first));
}

/** The date `days` later. */
export function dayAfter(date: string, days = 1): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10);
}
