/** Texts about the history and its buckets. */
import type { Bucket, History, Interval } from "./api";
import { sum } from "./days";
import { clock, money, sales, t } from "./page";

const DAY: Intl.DateTimeFormatOptions = { day: "numeric", month: "short" };
const TIME: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };

/** The unambiguous name of a bucket: the hour that occurs twice includes its time zone. */
export function bucketName(bucket: Bucket, interval: Interval, isAmbiguous: boolean): string {
  if (interval === "day") {
    return clock(bucket.from, { weekday: "short", ...DAY, year: "numeric" });
  }
  return clock(bucket.from, { ...DAY, ...TIME, ...(isAmbiguous && { timeZoneName: "short" }) });
}

/** The short name below the axis. */
export function tickName(bucket: Bucket, interval: Interval): string {
  return clock(bucket.from, interval === "day" ? DAY : TIME);
}

export function summaryOf({ buckets }: History, interval: Interval): string {
  const [first, last] = [buckets[0], buckets.at(-1)];
  if (first === undefined || last === undefined) {
    return t("history.empty");
  }
  const { salesCount, revenue } = sum(buckets);
  const parts: Intl.DateTimeFormatOptions =
    interval === "day"
      ? { dateStyle: "medium" }
      : { ...DAY, ...TIME };
  return t("history.summary", {
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
      return reason === undefined ? t("history.reset", { time }) : t("history.resetReason", { time, reason });
    });
}
