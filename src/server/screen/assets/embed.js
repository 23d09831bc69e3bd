// <lynkhook-webhooks link="/your/endpoint"> shows the screen in a frame. A POST to the endpoint answers {"url": "…"}: a
// portal link with this page's origin as its embedOrigin.
customElements.define("lynkhook-webhooks", class extends HTMLElement {
  connectedCallback() {
    this.listen = (event) => this.hear(event);
    addEventListener("message", this.listen);
    this.open();
  }

  disconnectedCallback() {
    removeEventListener("message", this.listen);
    this.replaceChildren();
  }

  async link() {
    const answer = await fetch(this.getAttribute("link"), { method: "POST" });
    const url = new URL((await answer.json()).url);
    this.origin = url.origin;
    return url.href;
  }

  async open() {
    try {
      const frame = document.createElement("iframe");
      frame.src = await this.link();
      frame.title = this.getAttribute("label") || "Webhooks";
      frame.allow = "clipboard-write";
      Object.assign(frame.style, { display: "block", width: "100%", height: "30rem", border: "0" });
      this.frame = frame;
      this.replaceChildren(frame);
    } catch {
      this.fail();
    }
  }

  hear({ source, origin, data }) {
    if (!this.frame || source !== this.frame.contentWindow || origin !== this.origin) return;
    if (data?.lynkhook === "height") this.frame.style.height = `${Math.ceil(data.height)}px`;
    if (data?.lynkhook === "expired") this.renew();
  }

  // Not for ever: the browser may refuse the cookie.
  async renew() {
    if (Date.now() - this.renewed < 1e4) return this.fail();
    this.renewed = Date.now();
    try {
      const url = await this.link();
      this.frame.contentWindow.postMessage({ lynkhook: "link", url }, this.origin);
    } catch {
      this.fail();
    }
  }

  fail() {
    const again = document.createElement("button");
    again.textContent = "Try again";
    again.onclick = () => this.open();
    this.replaceChildren("The webhooks could not be opened. ", again);
  }
});
