import { expect, test } from "vitest";
import { entries, integer, list, object, optionalText, text, texts, time, Unreadable } from "./decode";

interface Promised {
  always: string;
  maybeNull: string | null;
  maybeMissing?: string;
  maybeNoNumber: number | null;
  maybeNoObject: { text: string } | null;
  maybeNoList?: string[];
}

// Lines that must not compile: a field that the service no longer guarantees breaks the build of the pages.
test("a field that may be missing or null cannot be decoded as if it were always there", () => {
  const body = object({ always: "there", maybeNull: null } as Promised, "body");
  expect(text(body.always, "always")).toBe("there");
  expect(optionalText(body.maybeNull)).toBeUndefined();
  expect(optionalText(body.maybeMissing)).toBeUndefined();
  // @ts-expect-error -- always there, so it must not be read as optional.
  expect(optionalText(body.always)).toBe("there");
  // @ts-expect-error -- may be null.
  expect(() => text(body.maybeNull, "maybeNull")).toThrow(Unreadable);
  // @ts-expect-error -- may be missing.
  expect(() => text(body.maybeMissing, "maybeMissing")).toThrow(Unreadable);
  // @ts-expect-error -- may be null.
  expect(() => time(body.maybeNull, "maybeNull")).toThrow(Unreadable);
  // @ts-expect-error -- may be null.
  expect(() => integer(body.maybeNoNumber, "maybeNoNumber")).toThrow(Unreadable);
  // @ts-expect-error -- may be null.
  expect(() => object(body.maybeNoObject, "maybeNoObject")).toThrow(Unreadable);
  // @ts-expect-error -- may be null.
  expect(() => entries(body.maybeNoObject, "maybeNoObject")).toThrow(Unreadable);
  // @ts-expect-error -- may be missing.
  expect(() => list(body.maybeNoList, "maybeNoList")).toThrow(Unreadable);
  // @ts-expect-error -- may be missing.
  expect(() => texts(body.maybeNoList, "maybeNoList")).toThrow(Unreadable);
});

test("a field that the description lacks, or of another type, cannot be decoded", () => {
  const body = object({ always: "there" } as Promised, "body");
  // @ts-expect-error -- not in the description.
  const renamed: unknown = body.renamed;
  expect(() => text(renamed as string, "renamed")).toThrow(Unreadable);
  // @ts-expect-error -- not a number.
  expect(() => integer(body.always, "always")).toThrow(Unreadable);
});
