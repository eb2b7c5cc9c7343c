// Draws the charts of a report. The data of each lies beside its canvas:
// {x, y: {title, log, digits, min?, max?}, categories: [text],
//  series: [{name, color, dashed, legend, points: [[x, y, low, high]]}]}, null for no value.
(() => {
  'use strict';
  const shapes = ['circle', 'rect', 'triangle', 'rectRot', 'star', 'crossRot', 'line'];
  const paletteSize = 7;
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colorOf = (series) => style('--s' + series.color % paletteSize);
  const hasValue = (v) => v !== null && v !== undefined;

  // 0.00001 -> 1e-5: as fault rates are written on the command line.
  const number = (value, digits) => {
    if (!hasValue(value)) return '\u2013';
    if (digits >= 0) return value.toFixed(digits);
    const size = Math.abs(value);
    if (size !== 0 && size < 1.0001e-3) return (+value.toPrecision(4)).toExponential();
    return (+value.toPrecision(4)).toLocaleString('en');
  };
  // Powers of ten, and the ends of the axis where these are not near one.
  const logTick = (value, index, ticks) => {
    const log = Math.log10(value), far = Math.abs(log - Math.round(log));
    const end = index === 0 || index === ticks.length - 1;
    return far < 1e-9 || (end && far > 0.2) ? number(value, -1) : '';
  };
  // What a bar chart has to hold so that no interval leaves it.
  const span = (series) => {
    const ends = series.flatMap((s) => s.points.flatMap((p) => [p[2], p[3]])).filter(hasValue);
    return ends.length === 0 ? {} : {suggestedMin: Math.min(0, ...ends), suggestedMax: Math.max(0, ...ends)};
  };

  // Intervals of bars: a line with ends, drawn over them.
  const whiskers = {
    id: 'whiskers',
    afterDatasetsDraw(chart) {
      const {ctx, scales, chartArea: area} = chart;
      chart.data.datasets.forEach((set, index) => {
        if (!set.whiskers || !chart.isDatasetVisible(index)) return;
        ctx.save();
        ctx.beginPath();
        ctx.rect(area.left, area.top, area.width, area.height);
        ctx.clip();
        ctx.strokeStyle = style('--ink');
        ctx.lineWidth = 1.25;
        chart.getDatasetMeta(index).data.forEach((bar, i) => {
          const [low, high] = set.whiskers[i];
          if (!hasValue(low) || !hasValue(high)) return;
          const from = scales.x.getPixelForValue(low), to = scales.x.getPixelForValue(high);
          ctx.beginPath();
          for (const x of [from, to]) { ctx.moveTo(x, bar.y - 4); ctx.lineTo(x, bar.y + 4); }
          ctx.moveTo(from, bar.y);
          ctx.lineTo(to, bar.y);
          ctx.stroke();
        });
        ctx.restore();
      });
    },
  };

  const lineSets = (series) => {
    const sets = [], color = colorOf(series);
    const edge = (k, fill) => ({
      data: series.points.map((p) => ({x: p[0], y: p[k]})),
      series, hidden: series.hidden, band: true, fill, pointRadius: 0, pointHitRadius: 0, borderWidth: 0, order: 2,
      backgroundColor: color + '30',
    });
    if (series.points.some((p) => hasValue(p[2]) && hasValue(p[3]))) sets.push(edge(2, false), edge(3, '-1'));
    sets.push({
      label: series.name, series, hidden: series.hidden, order: 1,
      data: series.points.map((p) => ({x: p[0], y: p[1], low: p[2], high: p[3]})),
      borderColor: color, backgroundColor: color,
      borderWidth: series.dashed ? 1.5 : 2.25, borderDash: series.dashed ? [6, 5] : [],
      pointStyle: series.dashed ? 'line' : shapes[series.color % shapes.length],
      pointRadius: series.dashed || series.points.length > 60 ? 0 : 3.5, pointHoverRadius: 5,
    });
    return sets;
  };
  const barSets = (series, count) => {
    const at = Array.from({length: count}, () => [null, null, null, null]);
    for (const p of series.points) at[p[0]] = p;
    return [{
      label: series.name, series, hidden: series.hidden, data: at.map((p) => p[1]), backgroundColor: colorOf(series),
      whiskers: at.map((p) => [p[2], p[3]]), maxBarThickness: 22,
    }];
  };

  const scaleOf = (axis, horizontal, whole) => ({
    type: axis.log ? 'logarithmic' : 'linear',
    min: axis.min, max: axis.max,
    grid: {
      color: (line) => style(line.tick && line.tick.value === 0 && !axis.log ? '--soft' : '--line'),
      borderColor: style('--soft'),
    },
    title: {display: true, text: axis.title, font: {size: 13}, color: style('--ink')},
    ticks: axis.log
      ? {color: style('--soft'), maxRotation: 0, callback: logTick}
      : {color: style('--soft'), maxRotation: 0, maxTicksLimit: horizontal ? 11 : 8,
         precision: whole ? 0 : undefined, callback: (v) => number(v, -1)},
  });

  const configOf = (data, redraw) => {
    const bars = data.categories.length > 0;
    const whole = data.series.every((s) => s.points.every((p) => Number.isInteger(p[0])));
    const scales = bars
      ? {x: {...scaleOf(data.y, true, false), ...span(data.series), position: 'bottom'},
         y: {type: 'category', grid: {display: false, borderColor: style('--soft')},
             title: {display: true, text: data.x.title, font: {size: 13}, color: style('--ink')},
             ticks: {autoSkip: false, color: style('--soft')}}}
      : {x: scaleOf(data.x, true, whole), y: scaleOf(data.y, false, false)};
    if (bars && !hasValue(data.y.min)) scales.x.beginAtZero = true;
    const text = (item) => {
      const [y, low, high] = bars
        ? [item.dataset.data[item.dataIndex], ...item.dataset.whiskers[item.dataIndex]]
        : [item.raw.y, item.raw.low, item.raw.high];
      const digits = data.y.digits;
      const range = hasValue(low) && hasValue(high) ? ` (${number(low, digits)}..${number(high, digits)})` : '';
      return ` ${item.dataset.label}: ${number(y, digits)}${range}`;
    };
    return {
      type: bars ? 'bar' : 'line',
      plugins: bars ? [whiskers] : [],
      data: {
        labels: data.categories,
        datasets: data.series.flatMap((s) => bars ? barSets(s, data.categories.length) : lineSets(s)),
      },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, indexAxis: bars ? 'y' : 'x', scales,
        parsing: bars ? undefined : {xAxisKey: 'x', yAxisKey: 'y'},
        interaction: {mode: 'nearest', axis: bars ? 'y' : 'x', intersect: false},
        plugins: {
          legend: {
            display: data.series.filter((s) => s.legend).length > 1, position: 'bottom',
            labels: {
              usePointStyle: true, boxHeight: 8, padding: 14, color: style('--ink'),
              filter: (item, d) => !d.datasets[item.datasetIndex].band && d.datasets[item.datasetIndex].series.legend,
            },
            // A series goes with its band and its reference line.
            onClick: (event, item, legend) => {
              const clicked = legend.chart.data.datasets[item.datasetIndex].series;
              const hidden = !clicked.hidden;
              for (const s of data.series) {
                if (s === clicked || (!s.legend && s.color === clicked.color)) s.hidden = hidden;
              }
              redraw();
            },
          },
          tooltip: {
            filter: (item) => !item.dataset.band,
            callbacks: {
              title: (items) => items.length === 0 ? ''
                : bars ? items[0].label : `${data.x.title}: ${number(items[0].raw.x, data.x.digits)}`,
              label: text,
            },
          },
        },
      },
    };
  };

  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 12.5;
  // Charts are made anew for other colours or another paper; what is hidden stays so.
  const drawings = [...document.querySelectorAll('canvas[data-chart]')].map((canvas) => {
    const data = JSON.parse(canvas.nextElementSibling.textContent);
    const drawing = {canvas, chart: null, draw: () => {
      if (drawing.chart) drawing.chart.destroy();
      drawing.chart = new Chart(canvas, configOf(data, drawing.draw));
    }};
    return drawing;
  });
  const drawAll = () => drawings.forEach((d) => d.draw());
  drawAll();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);

  // Paper is white and has its own width.
  const paperWidth = 660;
  addEventListener('beforeprint', () => {
    document.documentElement.dataset.theme = 'light';
    Chart.defaults.devicePixelRatio = 2;
    drawAll();
    drawings.forEach((d) => d.chart.resize(paperWidth, d.canvas.parentElement.clientHeight));
  });
  addEventListener('afterprint', () => {
    delete document.documentElement.dataset.theme;
    delete Chart.defaults.devicePixelRatio;
    drawAll();
  });
})();
