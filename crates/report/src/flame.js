(function () {
  "use strict";
  var frames = Array.prototype.slice.call(document.querySelectorAll("g.f"));
  var all = frames.length ? Number(frames[0].dataset.w) : 1;
  var inner = 1180, margin = 10;
  function zoom(start, width) {
    frames.forEach(function (frame) {
      var x = (Number(frame.dataset.x) - start) / width * inner;
      var end = x + Number(frame.dataset.w) / width * inner;
      var left = Math.max(0, x), right = Math.min(inner, end);
      frame.style.display = right - left < 0.1 ? "none" : "";
      var rect = frame.querySelector("rect"), label = frame.querySelector("svg");
      rect.setAttribute("x", margin + left);
      rect.setAttribute("width", Math.max(0, right - left));
      label.setAttribute("x", margin + left + 4);
      label.setAttribute("width", Math.max(0, right - left - 6));
      if (!label.firstChild.textContent && right - left > 21) {
        label.firstChild.textContent = frame.querySelector("title").textContent.replace(/: [^:]*$/, "");
      }
    });
  }
  frames.forEach(function (frame) {
    frame.addEventListener("click", function () {
      var depth = Number(frame.dataset.d);
      zoom(depth ? Number(frame.dataset.x) : 0, depth ? Number(frame.dataset.w) : all);
    });
  });
})();
