/** A parser of server-sent events. https://html.spec.whatwg.org/#parsing-an-event-stream */

export interface ServerEvent {
  type: string;
  data: string;
  /** The last id sent, with this event or an earlier one. */
  id: string;
}

/** Accepts the stream in arbitrary chunks and calls `onEvent` with each complete event. */
export function eventParser(onEvent: (event: ServerEvent) => void): (text: string) => void {
  let rest = "";
  let type = "";
  let data: string[] = [];
  let id = "";

  const line = (text: string): void => {
    if (text === "") {
      if (data.length > 0) {
        onEvent({ type: type === "" ? "message" : type, data: data.join("\n"), id });
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
    // Ignored: comments, which keep the connection alive, and `retry`, since the page has its own backoff.
  };

  return (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    lines.forEach(line);
  };
}
