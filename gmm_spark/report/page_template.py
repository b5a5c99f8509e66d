"""The template of the page: HTML, style and script. In Python, so that any zip of it has it."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --card: #f5f6f8; --ink: #1c2126; --soft: #56606b; --line: #d5dae0;
  --accent: #9a3b00; --link: #0a558c;
  --d0: #2166ac; --d1: #67a9cf; --d2: #c6dfee; --d3: #f2f2f2; --d4: #fbd3bd; --d5: #ef8a62;
  --d6: #b2182b; --strong: #ffffff; --weak: #1c2126;
  --s0: #eef3f8; --s1: #d3e1ee; --s2: #adc8e0; --s3: #7faacf; --s4: #3f78b0; --s5: #225d97;
  --s6: #0b3c6f;
  --c0: #0072b2; --c1: #e69f00; --c2: #009e73; --c3: #cc79a7; --c4: #56b4e9; --c5: #d55e00;
  --c6: #b8ab1c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --card: #1e2329; --ink: #e8eaed; --soft: #a7b0ba; --line: #3a424b;
    --accent: #ffb074; --link: #8ec5f4;
    --d0: #8ec5f4; --d1: #35709f; --d2: #2b4a66; --d3: #2a2f36; --d4: #5e3a2e; --d5: #a3502c;
    --d6: #ffa27a; --strong: #15181c; --weak: #e8eaed;
    --s0: #232a32; --s1: #27384a; --s2: #2f4f6f; --s3: #3d6d9b; --s4: #6aa3d4; --s5: #93c2ea;
    --s6: #c3e0f8;
    --c0: #4aa3df; --c1: #f0b429; --c2: #2fbf94; --c3: #e29cc4; --c4: #9bd4f7; --c5: #f08a4b;
    --c6: #e6dc5c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: break-word;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .6rem;
  border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .2rem; }
p { margin: .3rem 0; max-width: 46rem; }
a { color: var(--link); }
.soft { color: var(--soft); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.skip { position: absolute; left: -999rem; }
.skip:focus { position: static; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0; margin: 1rem 0;
  list-style: none; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr));
  gap: .8rem; padding: 0; margin: 1rem 0; list-style: none; }
.cards > li { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .7rem .9rem; break-inside: avoid; }
.cards h2 { font-size: 1.05rem; margin: 0 0 .3rem; padding: 0; border: 0; }
.cards ul { margin: .3rem 0; padding: 0; list-style: none; }
.cards .outcome { font-weight: 600; margin: .4rem 0 0; }
.bar { position: relative; height: .6rem; margin: .2rem 0 .4rem; background: var(--line);
  border-radius: .15rem; }
.bar span { display: block; height: 100%; background: var(--accent); border-radius: .15rem; }
.bar b { position: absolute; top: -.2rem; bottom: -.2rem; width: 2px; background: var(--ink); }
.cards .unlike { font-size: .875rem; border-top: 1px solid var(--line); padding-top: .3rem; }
.notes, .key { border-left: 4px solid var(--line); padding-left: .8rem; margin: .6rem 0; }
.key { list-style: none; columns: 21rem; }
.key li { break-inside: avoid; }
figure { margin: 0 0 1.2rem; }
figcaption p { font-size: .95rem; }
figcaption b { font-weight: 600; }
.chart { margin: .6rem 0; overflow-x: auto; max-width: 44rem; }
.chart .mark-text text { paint-order: stroke; }
.chart svg { display: block; max-width: 100%; height: auto; }
.slider { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .8rem; margin: .4rem 0; }
.slider[hidden] { display: none; }
.slider label { display: flex; flex: 1 1 16rem; align-items: center; gap: .6rem; max-width: 34rem; }
.slider input { flex: 1 1 8rem; min-width: 6rem; accent-color: var(--link); height: 1.6rem; }
.slider button { font: inherit; color: var(--ink); background: var(--card); cursor: pointer;
  border: 1px solid var(--line); border-radius: .4rem; padding: .15rem .8rem; min-width: 4.6rem; }
.slider output { flex: 1 1 100%; color: var(--soft); font-size: .95rem;
  font-variant-numeric: tabular-nums; }
details { margin: .4rem 0; }
summary { cursor: pointer; color: var(--link); padding: .25rem 0; }
details.column { border: 1px solid var(--line); border-radius: .5rem; padding: .3rem .9rem;
  margin: .6rem 0; }
details.column > summary { font-weight: 600; color: var(--ink); }
.table { overflow-x: auto; margin: .4rem 0 .8rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .2rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
thead th { vertical-align: bottom; font-weight: 600; }
th[scope=row].words { min-width: 8rem; }
th[scope=row], td.words, th.words { text-align: left; }
tbody th, td.words { font-weight: normal; }
td.words { min-width: 9rem; max-width: 26rem; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0;
  text-align: inherit; cursor: pointer; text-decoration: underline dotted; }
th[aria-sort=ascending] button::after { content: " \\2191"; content: " \\2191" / ""; }
th[aria-sort=descending] button::after { content: " \\2193"; content: " \\2193" / ""; }
/* What is said of a chart stands beside it where there is room. */
@media screen and (min-width: 64rem) {
  figure:has(> .chart) { display: grid; grid-template-columns: 20rem minmax(0, 1fr);
    column-gap: 1.5rem; }
  figure:has(> .chart) > * { grid-column: 1 / -1; }
  figure:has(> .chart) > figcaption { grid-column: 1; }
  figure > .chart { grid-column: 2; }
  figure:has(> .slider) { grid-template-rows: auto 1fr; }
  figure:has(> .chart) > .slider { grid-column: 2; align-self: start; }
  figure:has(> .slider) > figcaption { grid-row: 1 / span 2; }
  figure:has(> .chart) h3 { margin-top: .4rem; }
}
@media screen and (max-width: 30rem) {
  table { font-size: .8rem; }
  th, td { padding: .25rem; }
  thead th { hyphens: auto; }
  th[scope=row].words { min-width: 5.8rem; overflow-wrap: anywhere; }
}
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
#vg-tooltip-element.vg-tooltip { background: var(--card); color: var(--ink);
  border: 1px solid var(--line); font: 13px/1.4 system-ui, sans-serif; max-width: 20rem; }
#vg-tooltip-element.vg-tooltip td { border: 0; padding: 0 .3rem; text-align: left; }
#vg-tooltip-element.vg-tooltip table tr td.key { color: var(--soft); }
@media print {
  :root {
    color-scheme: light;
    --paper: #ffffff; --card: #ffffff; --ink: #000000; --soft: #444444; --line: #bbbbbb;
    --accent: #9a3b00; --link: #000000;
    --d0: #2166ac; --d1: #67a9cf; --d2: #c6dfee; --d3: #f2f2f2; --d4: #fbd3bd; --d5: #ef8a62;
    --d6: #b2182b; --strong: #ffffff; --weak: #000000;
    --s0: #eef3f8; --s1: #d3e1ee; --s2: #adc8e0; --s3: #7faacf; --s4: #3f78b0; --s5: #225d97;
    --s6: #0b3c6f;
    --c0: #0072b2; --c1: #e69f00; --c2: #009e73; --c3: #cc79a7; --c4: #56b4e9; --c5: #d55e00;
    --c6: #b8ab1c;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  html, body { font-size: 10pt; }
  body { max-width: none; padding: 0; }
  .cards { grid-template-columns: 1fr 1fr; }
  nav, .skip, .slider, details:not([open]) { display: none; }
  .chart, .table { overflow: visible; }
  .chart { max-width: 155mm; }
  th button { text-decoration: none; }
  table { font-size: 8pt; }
  th, td { padding: .1rem .3rem; }
  td.words { min-width: 0; }
  h2, h3, summary, section > p, figcaption, figcaption p { break-after: avoid; }
  p, .key { break-inside: avoid; }
  .chart, figcaption, details.column { break-inside: avoid; }
  .chart svg { max-height: 225mm; }
  tr, .table { break-inside: avoid; }
}
"""

SCRIPT = """
"use strict";
(function () {
  function textOf(cell) { return cell.textContent.trim(); }
  function compare(a, b) {
    var x = a.dataset.value, y = b.dataset.value;
    if (x !== undefined && y !== undefined) { return x - y; }
    return textOf(a).localeCompare(textOf(b), undefined, { numeric: true });
  }
  function isEmpty(cell) {
    return cell.dataset.value === undefined && ["", "-"].indexOf(textOf(cell)) >= 0;
  }
  function sort(table, column, head) {
    var sign = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    table.querySelectorAll("thead th").forEach(function (one) {
      one.removeAttribute("aria-sort");
    });
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    var body = table.tBodies[0];
    Array.from(body.rows).sort(function (a, b) {
      a = a.cells[column]; b = b.cells[column];
      if (isEmpty(a) || isEmpty(b)) { return isEmpty(a) - isEmpty(b); }
      return sign * compare(a, b);
    }).forEach(function (row) { body.appendChild(row); });
  }
  document.querySelectorAll("table").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.title = "Sort by this column";
      head.textContent = "";
      head.appendChild(button);
      button.addEventListener("click", function () { sort(table, column, head); });
    });
  });

  function fitted(text, width) {
    var spec = JSON.parse(text);
    var labels = Math.min(spec.usermeta.labels, 0.42 * width);
    spec.config.axis.labelLimit = labels - 16;
    spec.width = Math.max(120, Math.min(width, 700) - labels);
    if (width < 500) {
      spec.config.legend.columns = 1;
      spec.config.legend.labelLimit = spec.width - 24;
    }
    return spec;
  }
  // The slider of a chart, and its signal.
  function steer(chart) {
    var controls = chart.parentNode.querySelector(".slider");
    if (!controls) { return; }
    var input = controls.querySelector("input"), said = JSON.parse(input.dataset.said);
    function show() {
      var at = Number(input.value);
      controls.querySelector("output").textContent = said[at];
      input.setAttribute("aria-valuetext", said[at]);
      chart.view.signal("iteration", at).runAsync();
    }
    if (controls.hidden) {
      controls.hidden = false;
      input.addEventListener("input", function () { stop(); show(); });
      controls.querySelector("button").addEventListener("click", function () {
        if (controls.playing) { stop(); return; }
        if (input.value === input.max) { input.value = 0; show(); }
        this.textContent = "Stop";
        controls.playing = setInterval(function () {
          input.value = Number(input.value) + 1;
          show();
          if (input.value === input.max) { stop(); }
        }, 350);
      });
    }
    function stop() {
      clearInterval(controls.playing);
      controls.playing = null;
      controls.querySelector("button").textContent = "Play";
    }
    show();
  }
  function draw(chart) {
    var width = chart.clientWidth;
    if (!width || Math.abs(width - (chart.drawn || 0)) < 8) { return; }
    chart.drawn = width;
    var script = chart.parentNode.querySelector("script[type='application/json']");
    var place = document.createElement("div");
    place.setAttribute("aria-hidden", "true");
    vegaEmbed(place, fitted(script.textContent, width), {
      actions: false, renderer: "svg", ast: true, defaultStyle: false, mode: "vega-lite"
    }).then(function (made) {
      chart.replaceChildren(place);
      chart.dataset.drawn = "yes";
      chart.view = made.view;
      steer(chart);
    }).catch(function (error) { console.error(error); });
  }
  var charts = Array.from(document.querySelectorAll(".chart"));
  function all() { charts.forEach(draw); }
  var waiting;
  window.addEventListener("resize", function () {
    clearTimeout(waiting);
    waiting = setTimeout(all, 200);
  });
  // What is folded has no width until it is opened.
  document.addEventListener("toggle", all, true);
  all();
})();
"""

_MACROS = """
{% macro table_of(table, is_titled) %}
<div class="table" tabindex="0" role="group" aria-label="{{ table.caption }}">
<table>
<caption{% if is_titled %} class="unseen"{% endif %}>{{ table.caption }}</caption>
<thead><tr>
{% for head in table.header %}
<th scope="col"{% if table.of_words[loop.index0] %} class="words"{% endif %}>{{ head }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>
{%- for cell in row -%}
{%- set kind = "th" if loop.first else "td" -%}
<{{ kind }}{% if loop.first %} scope="row"{% endif %}
{%- if cell.value is not none %} data-value="{{ cell.value }}"
{%- elif cell.text not in ("", "-") %} class="words"{% endif %}>
{{- cell.text|forceescape|replace("_", "_<wbr>"|safe) }}</{{ kind }}>
{%- endfor -%}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
{% macro figure_of(figure, is_titled) %}
<figure>
<figcaption>
{% if is_titled %}<h3>{{ figure.title }}</h3>{% endif %}
{% if figure.shows %}<p>{{ figure.shows }}</p>{% endif %}
{% if figure.read and figure.picture %}<p><b>How to read it.</b> {{ figure.read }}</p>{% endif %}
{% if figure.act and figure.picture %}<p><b>What to do.</b> {{ figure.act }}</p>{% endif %}
</figcaption>
{% if figure.picture %}
<div class="chart" role="img" aria-label="{{ figure.title }}. {{ figure.shows }} Its numbers are in
 the table below."><div aria-hidden="true">{{ svg[figure.picture]|safe }}</div></div>
{% if figure.iterations %}
<div class="slider" hidden>
<button type="button">Play</button>
<label>Iterations of EM <input type="range" min="0" step="1"
 max="{{ figure.iterations|length - 1 }}" value="{{ figure.iterations|length - 1 }}"
 data-said="{{ figure.iterations|tojson|forceescape }}"></label>
<output aria-live="off">{{ figure.iterations[-1] }}</output>
</div>
{% endif %}
<script type="application/json">{{ figure.picture|safe }}</script>
{% endif %}
{% for table in figure.tables %}
{% if figure.is_open %}
{{ table_of(table, is_titled) }}
{% else %}
<details><summary>Numbers: {{ table.caption }}</summary>
{{ table_of(table, True) }}
</details>
{% endif %}
{% endfor %}
</figure>
{% endmacro %}
"""

_BODY = """
<a class="skip" href="#{{ sections[0].id }}">Past the summary</a>
<header>
<h1>{{ "{:,}".format(found.rows.with_segment) }} {{ found.noun }} in
 {{ cards|length }} segment{{ "s" if cards|length != 1 }}</h1>
{% if found.run_date %}
<p class="soft">{{ found.run_date }}</p>
{% endif %}
{% for line in lead %}
<p>{{ line|replace(" %", "\u00a0%") }}</p>
{% endfor %}
</header>
<main>
<ol class="cards" aria-label="The segments">
{% for card in cards %}
<li>
<h2><span class="soft">{{ card.number }}</span> {{ card.name }}</h2>
{% if card.outcome %}
<p class="outcome">{{ card.outcome|replace(" %", "\u00a0%") }}</p>
{% endif %}
{% if card.bar %}
<div class="bar" aria-hidden="true"><span
 style="width: {{ "%.1f"|format(card.bar[0]) }}%"></span><b
 style="left: {{ "%.1f"|format(card.bar[1]) }}%"></b></div>
{% endif %}
<ul>
{% for line in card.lines %}
<li>{{ line|replace(" %", "\u00a0%") }}</li>
{% endfor %}
</ul>
{% if card.differences %}
<ul class="unlike" aria-label="Unlike the others">
{% for line in card.differences %}
<li>{{ line|replace(" %", "\u00a0%") }}</li>
{% endfor %}
</ul>
{% endif %}
</li>
{% endfor %}
</ol>
{% if found.outcomes %}
<p class="soft">In brackets: where the true figure is, in 95 of 100 cases. “Times the average”: the
 figure of the segment divided by that of all
 {{ found.noun }}{% if longest %}, which is the upright line across the bars; a full bar is
 {{ longest|replace(" %", "\u00a0%") }}{% endif %}.</p>
{% endif %}
{% if notes %}
<div class="notes">
{% for note in notes %}
<p>{{ note }}</p>
{% endfor %}
</div>
{% endif %}
<nav aria-label="Sections"><ul>
{% for section in sections %}
<li><a href="#{{ section.id }}">{{ section.title }}</a></li>
{% endfor %}
</ul></nav>
{% for section in sections %}
<section id="{{ section.id }}" aria-labelledby="{{ section.id }}-title">
<h2 id="{{ section.id }}-title">{{ section.title }}</h2>
{% for line in section.words %}
<p>{{ line }}</p>
{% endfor %}
{% if section.key %}
<ol class="key" aria-label="The segments by number">
{% for number, name in section.key %}
<li><b>{{ number }}</b> {{ name }}</li>
{% endfor %}
</ol>
{% endif %}
{% for figure in section.figures %}
{% if figure.folded is none %}
{{ figure_of(figure, True) }}
{% else %}
<details class="column"{% if not figure.folded %} open{% endif %}><summary>{{ figure.title }}
</summary>
{{ figure_of(figure, False) }}
</details>
{% endif %}
{% endfor %}
</section>
{% endfor %}
</main>
<footer class="soft"><p>Made by {{ found.made_by }}
{%- if of_file %} of segments.json, which has every number of this page{% endif %}.</p></footer>
"""

# Nothing is asked for from anywhere, and the browser is told not to.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "form-action 'none'; base-uri 'none'"
)

TEMPLATE = f"""{_MACROS}<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{{{ cards|length }}}} segment{{{{ "s" if cards|length != 1 }}}} of
 {{{{ "{{:,}}".format(found.rows.with_segment) }}}} {{{{ found.noun }}}}
 {{{{- ", " ~ found.run_date if found.run_date }}}}</title>
<style>{STYLE}</style>
</head>
<body>
{_BODY}
<script>{{{{ script|safe }}}}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""
