// Questions to the server. A key is kept for the tab alone.

const KEY = "colmodern-key";

// What the server answered in place of a result.
export class ServerError extends Error {
  constructor(status, code, message, cure) {
    super(message);
    this.status = status;
    this.code = code;
    this.cure = cure;
  }
}

export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

// The answer to a GET, or to a POST where there is a body. Raises ServerError, and AbortError when `signal` fires.
export async function ask(path, { body, signal } = {}) {
  const headers = {};
  if (hasKey()) headers.Authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, "unreachable", "the server does not answer", "check that it runs, and try again");
  }
  let answer;
  try {
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(response.status, "unreadable", `the answer (${response.status}) is no JSON`, "try again");
  }
  if (response.ok) return answer;
  const { code, message, cure } = answer.error || {};
  throw new ServerError(response.status, code, message || `status ${response.status}`, cure || "");
}

export function indexPath(name, ...more) {
  return ["v1/indexes", encodeURIComponent(name), ...more].join("/");
}
