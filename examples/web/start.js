// Before any module: browsers load none of them from a file, and would say so nowhere but in their console.
if (location.protocol === "file:") {
  const message = document.getElementById("message");
  message.textContent =
    "This page was opened as a file, and browsers run it from a server only: npm start in examples/web, then http://localhost:8000/";
  message.classList.add("bad");
}
