"""Texts as a link, a file or a folder may bring them, to be shown as they are and to do nothing."""

BEACON = "beacon.example"

TEXTS = (
    f"![x](http://{BEACON}/a.png)",
    f"[x](http://{BEACON}/a)",
    f"![x][y] [y]: http://{BEACON}/b.png",
    f"![](//{BEACON}/c.png)",
    f"see http://{BEACON}/d and https://{BEACON} HTTPS://{BEACON}/e.",
    f"www.{BEACON}/f (www.{BEACON}) WWW.{BEACON}",
    f"someone@{BEACON}, mailto:someone@{BEACON}, xmpp:someone@{BEACON}/x",
    f"<http://{BEACON}/g> <someone@{BEACON}>",
    f'<img src="http://{BEACON}/h.png" onerror="alert(1)">',
    f"<iframe src=//{BEACON}></iframe><script src=//{BEACON}/i.js></script>",
    f"<style>@import '//{BEACON}/j.css'</style><link rel=stylesheet href=//{BEACON}/k.css>",
    f"<a href='http://{BEACON}/l'>x</a><b>y</b>&lt;b&gt; &amp; &#60;i&#62;",
    "$x^2$ and $$y$$ costs $5 or $6",
    ":red[x] :color[x]{foreground=red} :small[x] :help[x] :blue-badge[x] ::x[y] :::x",
    ":smile: :+1: a:b:c:heart: :material/home: :streamlit: folder:material/home:",
    "**b** *i* __b__ _i_ a_b_c ~~s~~ ~s~ `c` ``d`` \\*e\\*",
    "# heading", "## heading", "- item", "* item", "+ item", "1. item", "12) item", "> quote", "---", "***", "===",
    "- [ ] task", "    indented code", "```mermaid graph```", "~~~ x ~~~", "[^1] x [^1]: y",
    "a | b | c", "|a|b| |-|-|",
    "a -> b <- c <-> d -- e >= f <= g ~= h",
    "~/data/x", "/data/my_pictures/2020-01-01_a(b) [c]", "C:\\data\\x", "folder:/data/x", "100 % of 5 > 3 & 2 < 4",
    "%{y} %{customdata} {x}",
    "Größe 影像 élève", "+", "-", ":", "$", "&", "_",
)
# What is shown in place of what cannot be seen.
UNSEEN = {"a\nb\n\n# c": "a b # c", "a\tb  c ": "a b c",
          "a\u202eb\u2066c\x00d\x1b[0m": "a\ufffdb\ufffdc\ufffdd\ufffd[0m",
          "\u2060a\u200b": "\ufffda\ufffd"}
