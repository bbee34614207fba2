import { expect, test } from "vitest";
import { formatAge } from "./format";

test("an age is told in the largest unit of which two have passed", () => {
  expect(formatAge(0.4, "en")).toBe("now");
  expect(formatAge(1, "de")).toBe("vor 1 Sekunde");
  expect(formatAge(119, "en")).toBe("119 seconds ago");
  expect(formatAge(120, "en")).toBe("2 minutes ago");
  expect(formatAge(7199, "en")).toBe("119 minutes ago");
  expect(formatAge(7200, "de")).toBe("vor 2 Stunden");
});
