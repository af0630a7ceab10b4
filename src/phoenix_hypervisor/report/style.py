"""How the page looks: light and dark, on paper, from 400 pixels on.

Owns the style sheet.  Text has 4.5:1 or more against its background (WCAG 2.2, 1.4.3) in both schemes, and no
colour stands alone: each badge says in words what it means.  Must name nothing from elsewhere: no font, no
image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_LIGHT = """
color-scheme:light;--bg:#fff;--panel:#f6f8fa;--ink:#1c2128;--dim:#57606a;--line:#d8dee4;--link:#0a58b0;
--good:#0f6b2d;--good-bg:#e2f5e7;--warn:#7a4d00;--warn-bg:#fdf1d3;--bad:#b1121f;--bad-bg:#fde7e7;
--none:#57606a;--none-bg:#eef1f4;--bar-good:#2da44e;--bar-bad:#d1242f;--bar-none:#afb8c1;--bar-warn:#bf8700;
"""
_DARK = """
color-scheme:dark;--bg:#0e1217;--panel:#161b22;--ink:#e3e9f0;--dim:#9ba7b4;--line:#2c343e;--link:#7db7ff;
--good:#6fd08c;--good-bg:#12301c;--warn:#e8bd5c;--warn-bg:#352a0f;--bad:#ff9b94;--bad-bg:#3f1719;
--none:#a9b4c0;--none-bg:#222a33;--bar-good:#3fb950;--bar-bad:#f85149;--bar-none:#57606a;--bar-warn:#d29922;
"""

_MAIN = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0 auto;max-width:92rem;padding:clamp(1rem,3vw,2.5rem);background:var(--bg);color:var(--ink);
font:1rem/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Noto Sans","Liberation Sans","DejaVu Sans",sans-serif;
overflow-wrap:break-word}
code,.m{font-family:ui-monospace,"SFMono-Regular",Menlo,Consolas,
"Liberation Mono","DejaVu Sans Mono",monospace;
font-size:.86em}
a{color:var(--link);text-underline-offset:.15em}
a:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:2px}
h1{font-size:1.1rem;font-weight:600;margin:0;color:var(--dim)}
h2{font-size:1.3rem;line-height:1.3;margin:2.4rem 0 .4rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.8rem 0 .4rem}
h2 small,h3 small{font-weight:400;font-size:.85em;color:var(--dim);margin-left:.4em}
p{margin:.4rem 0 .9rem;max-width:50rem}
p.dim,.dim{color:var(--dim)}
ul{padding-left:1.2rem;margin:.4rem 0}
li{margin:.2rem 0}
header .big{font-size:clamp(1.9rem,5vw,2.9rem);line-height:1.15;font-weight:700;letter-spacing:-.02em;
margin:.5rem 0 .7rem;max-width:none}
header .facts{display:flex;flex-wrap:wrap;gap:.25rem 1.6rem;margin:1.1rem 0 0;color:var(--dim);
font-size:.92rem}
header .facts div{display:flex;gap:.45em;min-width:0}
header dt{color:var(--dim)}header dd{margin:0;color:var(--ink);min-width:0}
.bar{display:flex;gap:3px;height:.85rem;margin:.2rem 0 .7rem}
.bar i{display:block;min-width:4px;border-radius:3px}
.bar .good{background:var(--bar-good)}.bar .bad{background:var(--bar-bad)}
.bar .none{background:var(--bar-none)}.bar .warn{background:var(--bar-warn)}
.key{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;list-style:none;padding:0;margin:0;font-size:.95rem}
.key i{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.5em}
.k-good{background:var(--bar-good)}.k-bad{background:var(--bar-bad)}
.k-none{background:var(--bar-none)}.k-warn{background:var(--bar-warn)}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;list-style:none;padding:0;margin:1.6rem 0 0;
font-size:.95rem}
nav li{margin:0}
.b{display:inline-block;padding:.05em .55em;border-radius:1em;font-size:.86em;font-weight:600;
line-height:1.5;white-space:nowrap}
.b.good{color:var(--good);background:var(--good-bg)}.b.warn{color:var(--warn);background:var(--warn-bg)}
.b.bad{color:var(--bad);background:var(--bad-bg)}.b.none{color:var(--none);background:var(--none-bg)}
.said{border-left:4px solid var(--line);background:var(--panel);padding:.65rem .95rem;margin:.6rem 0;
border-radius:0 6px 6px 0;list-style:none}
.said.bad{border-color:var(--bar-bad)}.said.warn{border-color:var(--bar-warn)}
.said p{margin:.15rem 0;max-width:none}
ul.list{padding:0;list-style:none}
ul.chips{display:flex;flex-wrap:wrap;gap:.35rem .5rem;list-style:none;padding:0}
.chips li{margin:0;padding:.1rem .55rem;border:1px solid var(--line);border-radius:5px;
background:var(--panel)}
h4{font-size:1rem;font-weight:600;margin:1.4rem 0 .3rem}h4 code{font-size:.94em}
table{border-collapse:collapse;width:100%;margin:.7rem 0 1.2rem;font-size:.92rem}
th{text-align:left;font-weight:600;font-size:.8rem;color:var(--dim);white-space:nowrap;vertical-align:bottom;
overflow-wrap:normal}
th,td{padding:.45rem .8rem .45rem 0;border-bottom:1px solid var(--line)}
td{vertical-align:top;overflow:clip;overflow-clip-margin:2px}
td div+div,td .dim{margin-top:.1rem}
tbody tr:target{background:var(--warn-bg)}
td.num,th.num{text-align:right;font-variant-numeric:tabular-nums}
td code,td.id,td .any{overflow-wrap:anywhere}
td .b{white-space:normal}
table.containers{table-layout:fixed}
td.id{font-variant-numeric:tabular-nums;font-weight:600}
.small{font-size:.86rem}
footer{margin-top:3rem;padding-top:1.1rem;border-top:1px solid var(--line);color:var(--dim);font-size:.92rem}
footer dt{color:var(--ink);font-weight:600;margin-top:.8rem}footer dd{margin:.1rem 0;max-width:50rem}
"""
_WIDE = """
.places td:nth-child(-n+2),.history td:nth-child(2),.history td:nth-child(3),td.id code{white-space:nowrap}
"""
_CARDS = """
body{overflow-wrap:anywhere}
table,tbody,tr,td{display:block;width:auto}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
tr{border:1px solid var(--line);border-radius:8px;padding:.5rem .8rem;margin:.7rem 0;background:var(--panel)}
td{display:grid;grid-template-columns:minmax(6.2rem,30%) minmax(0,1fr);gap:0 .7rem;padding:.22rem 0;
border:0;overflow:visible}
td>*{grid-column:2;justify-self:start;min-width:0}
td::before{color:var(--dim);grid-column:1;grid-row:1/span 9;font-weight:400}
td.num{text-align:left}
td.id{font-size:1.02rem}
td:empty,td.gone{display:none}
"""
_PAPER = """
@page{margin:12mm}
html{font-size:10.5px}
body{max-width:none;padding:0}
nav{display:none}
h2,h3{break-after:avoid}h2{margin-top:1.4rem}
tr,.said{break-inside:avoid}thead{display:table-header-group}
a{color:inherit;text-decoration:none}
.bar,.bar i,.b,.key i,.said{print-color-adjust:exact;-webkit-print-color-adjust:exact}
"""
NARROW = "60rem"


def sheet(
    tables: Mapping[str, Sequence[str]], widths: Mapping[str, Sequence[int]], bar: Mapping[str, int]
) -> str:
    """The whole style sheet.

    `tables`: by class, what its columns are called: where a table becomes cards, each cell says so.
    `widths`: by class, those of its columns in percent; of others the browser decides.
    `bar`: how many containers each part of the bar stands for.
    """
    labels = "".join(
        f'.{name} td:nth-child({number})::before{{content:"{column}"}}'
        for name, columns in tables.items()
        for number, column in enumerate(columns, 1)
    )
    columns = "".join(
        f".{name} th:nth-child({number}){{width:{width}%}}"
        for name, some in widths.items()
        for number, width in enumerate(some, 1)
    )
    parts = "".join(f".bar .{name}{{flex:{count} 1 0}}" for name, count in bar.items())
    rules = [
        f":root{{{_LIGHT}}}",
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}",
        _MAIN,
        parts,
        columns,
        f"@media print,screen and (min-width:{NARROW}){{{_WIDE}}}",
        f"@media screen and (max-width:{NARROW}){{{_CARDS}{labels}}}",
        f"@media print{{{_PAPER}}}",
    ]
    return "\n".join(rules)
