// The search runs in a worker, and browsers refuse workers to pages that are opened from files.
// There, the worker's script runs in a hidden frame instead, which the same messages reach.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html><title>search</title>";
      this.isReady = new Promise((resolve) => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow;
          inside.postMessage = (message) => {
            const data = structuredClone(message);
            setTimeout(() => this.onmessage?.({ data }));
          };
          const script = inside.document.createElement("script");
          script.src = url;
          script.onload = resolve;
          script.onerror = (event) => this.onerror?.(event);
          inside.document.body.append(script);
        };
      });
      document.body.append(this.frame);
    }
    postMessage(message) {
      // a copy, as a worker gets: what the script writes into a query would reach the search box
      const data = structuredClone(message);
      this.isReady.then(() => setTimeout(() => this.frame.contentWindow?.onmessage?.({ data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
