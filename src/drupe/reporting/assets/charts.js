// Draws the charts: Python says what, this file how it looks in either theme.

const SERIES = 8; // colours of the palette in report.css, --series-0 …
const DASHES = ["solid", "dash", "dot", "dashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon"];
const PRINT_WIDTH = 660; // pixels that fit on a printed page

const pageData = JSON.parse(document.getElementById("page-data").textContent);

function themeColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Return `trace` with the colours, symbols and widths of its part. */
function styled(trace) {
  const { series = 0, part } = trace.meta;
  const colour = themeColour(`--series-${series % SERIES}`);
  const dash = DASHES[Math.floor(series / SERIES) % DASHES.length];
  const symbol = SYMBOLS[series % SYMBOLS.length];
  const error = { color: colour, thickness: 2, width: 5 };
  const parts = {
    line: { line: { color: colour, width: 2.5, dash } },
    "seed-line": { line: { color: colour, width: 1 }, opacity: 0.45 },
    band: { line: { width: 0 }, fillcolor: `${colour}26` },
    interval: { marker: { color: colour, size: 11, symbol } },
    "interval-line": { line: { color: colour, width: 1.5 }, marker: { color: colour, symbol, size: 7 } },
    seeds: { marker: { color: colour, size: 7, symbol: "circle-open" } },
    reference: { line: { color: themeColour("--muted"), width: 1.5, dash: "dot" } },
    front: { marker: { color: colour, size: 13 } },
    bar: { marker: { color: colour } },
    dots: { marker: { color: colour, size: 9, symbol } },
    behind: { marker: { color: colour, size: 12, symbol: "circle-open", line: { width: 2 } } },
  };
  const result = { ...trace, ...parts[part] };
  if (trace.line) result.line = { ...result.line, ...trace.line };
  for (const name of ["error_x", "error_y"]) {
    const thin = part === "interval-line" ? { thickness: 1, width: 0 } : {};
    if (trace[name]) result[name] = { ...trace[name], ...error, ...thin };
  }
  return result;
}

function layoutOf(chart) {
  const axis = {
    gridcolor: themeColour("--line"),
    zerolinecolor: themeColour("--muted"),
    linecolor: themeColour("--line"),
    automargin: true,
    fixedrange: true,
  };
  const wanted = chart.layout;
  const ofAxis = (own) => ({ ...axis, ...own, title: { font: { size: 13 }, ...own.title } });
  return {
    height: 400,
    margin: { l: 56, r: 16, t: 12, b: 48 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: {
      family: getComputedStyle(document.body).fontFamily,
      size: 13,
      color: themeColour("--text"),
    },
    legend: { orientation: "h", y: -0.18, yanchor: "top", x: 0 },
    hoverlabel: { bgcolor: themeColour("--card"), font: { color: themeColour("--text") } },
    hovermode: "closest",
    ...wanted,
    xaxis: ofAxis(wanted.xaxis),
    yaxis: ofAxis(wanted.yaxis),
  };
}

function drawCharts() {
  for (const chart of pageData.charts) {
    const place = document.getElementById(chart.id);
    Plotly.react(place, chart.traces.map(styled), layoutOf(chart), {
      displayModeBar: false,
      responsive: true,
    });
  }
}

function resizeCharts(width) {
  for (const chart of pageData.charts) {
    Plotly.relayout(chart.id, width ? { width, autosize: false } : { width: null, autosize: true });
  }
}
