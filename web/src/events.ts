/** Server-sent events, as they come from a stream. https://html.spec.whatwg.org/#parsing-an-event-stream */

export interface ServerEvent {
  type: string;
  data: string;
  /** The last id that was sent, with this event or before. */
  id: string;
}

/** Takes the stream's text piece by piece, wherever it was cut, and hands out each event once it is complete. */
export function eventParser(take: (event: ServerEvent) => void): (text: string) => void {
  let rest = "";
  let type = "";
  let data: string[] = [];
  let id = "";

  const line = (text: string): void => {
    if (text === "") {
      if (data.length > 0) {
        take({ type: type === "" ? "message" : type, data: data.join("\n"), id });
      }
      type = "";
      data = [];
      return;
    }
    const colon = text.indexOf(":");
    const field = colon === -1 ? text : text.slice(0, colon);
    const value = colon === -1 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (field === "event") {
      type = value;
    } else if (field === "data") {
      data.push(value);
    } else if (field === "id") {
      id = value;
    }
    // Comments keep the connection open; how long to wait before the next one is decided here.
  };

  return (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    lines.forEach(line);
  };
}
