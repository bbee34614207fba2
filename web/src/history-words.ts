/** What is said about the history, and about one bucket of it. */
import type { Bucket, History, Interval } from "./api";
import { sum } from "./days";
import { clock, money, sales, say } from "./page";

const DAY: Intl.DateTimeFormatOptions = { day: "numeric", month: "short" };
const TIME: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };

/** A bucket by itself, so that nobody takes it for another one: the hour that happens twice names its time zone. */
export function bucketName(bucket: Bucket, interval: Interval, isTwin: boolean): string {
  if (interval === "day") {
    return clock(bucket.from, { weekday: "short", ...DAY, year: "numeric" });
  }
  return clock(bucket.from, { ...DAY, ...TIME, ...(isTwin && { timeZoneName: "short" }) });
}

/** Below the axis there is room for little. */
export function tickName(bucket: Bucket, interval: Interval): string {
  return clock(bucket.from, interval === "day" ? DAY : TIME);
}

export function summaryOf({ buckets }: History, interval: Interval): string {
  const [first, last] = [buckets[0], buckets.at(-1)];
  if (first === undefined || last === undefined) {
    return say("history.empty");
  }
  const { salesCount, revenue } = sum(buckets);
  const parts: Intl.DateTimeFormatOptions =
    interval === "day"
      ? { dateStyle: "medium" }
      : { ...DAY, ...TIME };
  return say("history.summary", {
    from: clock(first.from, parts),
    to: clock(interval === "day" ? last.from : last.to, parts),
    times: sales(salesCount),
    revenue: money(revenue),
  });
}

export function resetTexts({ resets }: History, { from, to }: Bucket): string[] {
  return resets
    .filter(({ resetAt }) => from <= resetAt && resetAt < to)
    .map(({ resetAt, reason }) => {
      const time = clock(resetAt, { timeStyle: "short" });
      return reason === undefined ? say("history.reset", { time }) : say("history.resetWhy", { time, reason });
    });
}
