import { expect, test } from "vitest";
import { Reply, Unreadable } from "./reply";

interface Promised {
  always: string;
  perhapsNull: string | null;
  perhapsMissing?: string;
  perhapsNoTime: string | null;
  perhapsNoNumber: number | null;
  perhapsNoObject: { text: string } | null;
  perhapsNoList?: { text: string }[];
}

// The lines that must not compile are the test: what a service begins to leave out breaks the page's build.
test("what may be missing or null is not read as if it were always there", () => {
  const reply = new Reply<Promised>({ always: "there", perhapsNull: null }, "reply");
  expect(reply.text("always")).toBe("there");
  expect(reply.textIfAny("perhapsNull")).toBeUndefined();
  expect(reply.textIfAny("perhapsMissing")).toBeUndefined();
  // @ts-expect-error -- It is always there, and to be read so.
  expect(reply.textIfAny("always")).toBe("there");
  // @ts-expect-error -- It may not be there.
  expect(() => reply.text("perhapsNull")).toThrow(Unreadable);
  // @ts-expect-error -- It may not be there.
  expect(() => reply.text("perhapsMissing")).toThrow(Unreadable);
  // @ts-expect-error -- It may not be there.
  expect(() => reply.time("perhapsNoTime")).toThrow(Unreadable);
  // @ts-expect-error -- It may not be there.
  expect(() => reply.integer("perhapsNoNumber")).toThrow(Unreadable);
  // @ts-expect-error -- It may not be there.
  expect(() => reply.object("perhapsNoObject")).toThrow(Unreadable);
  // @ts-expect-error -- It may not be there.
  expect(() => reply.map("perhapsNoObject")).toThrow(Unreadable);
  // @ts-expect-error -- It may not be there.
  expect(() => reply.list("perhapsNoList")).toThrow(Unreadable);
  // @ts-expect-error -- It may not be there.
  expect(() => reply.texts("perhapsNoList")).toThrow(Unreadable);
});

test("a name or a type that the description does not have is not read", () => {
  const reply = new Reply<Promised>({ always: "there" }, "reply");
  // @ts-expect-error -- It is not promised.
  expect(() => reply.text("renamed")).toThrow(Unreadable);
  // @ts-expect-error -- It is not promised.
  expect(() => reply.integer("always")).toThrow(Unreadable);
});
