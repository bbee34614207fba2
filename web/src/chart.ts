/** Revenue and number of sales over time: two plots with a shared time axis and a shared cursor. Loaded on demand. */
import uPlot from "uplot";
import type { Bucket } from "./api";

export interface ChartData {
  buckets: readonly Bucket[];
  /** In stacking order. */
  licenses: readonly string[];
  /** The indexes of the buckets that contain a reset. */
  resets: readonly number[];
}

export interface Labels {
  tick: (index: number) => string;
  /** Candidate tick indexes, densest first: the first that fits is used. */
  ticks: readonly (readonly number[])[];
  revenue: (amountMinor: number) => string;
  count: (count: number) => string;
  axes: { revenue: string; count: string };
}

export interface Chart {
  draw(plotted: ChartData, words: Labels): void;
}

/** Fits the longest label of both axes, so both plots start at the same x. */
const LEFT_PX = 72;
const LABEL_PX = 20;
const TICK_PX = 64;
const FONT = "12px system-ui, sans-serif";
const HEIGHT_PX = { revenue: 180, count: 120 };
/** The minimum range of the y axes. */
const MIN_RANGE = { revenue: 10_000, count: 2 };
const INCREMENTS = [1, 2, 5]
  .flatMap((step) => [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10].map((power) => step * power))
  .sort((a, b) => a - b);
const COLOURS = ["--first", "--second", "--third"];

export function createChart(root: HTMLElement, point: (index: number | undefined, x: number) => void): Chart {
  let plotted: ChartData = { buckets: [], licenses: [], resets: [] };
  let words: Labels | undefined;
  let plots: uPlot[] = [];
  const colour = (name: string): string => getComputedStyle(root).getPropertyValue(name);
  const last = (): number => Math.max(0, plotted.buckets.length - 1);

  const ticks = (plot: uPlot): number[] => {
    const room = Math.max(1, Math.floor(plot.bbox.width / devicePixelRatio / TICK_PX));
    return [...(words?.ticks.find((some) => some.length <= room) ?? [])];
  };

  const markResets = (plot: uPlot): void => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour("--danger");
    ctx.lineWidth = devicePixelRatio * 1.5;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const index of plotted.resets) {
      const x = Math.round(plot.valToPos(index, "x", true));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  };

  const make = (kind: "revenue" | "count", hasTime: boolean): uPlot => {
    const bars = uPlot.paths.bars?.({ size: [0.8, 48] });
    const axis = { stroke: () => colour("--quiet"), font: FONT, ticks: { show: false } };
    return new uPlot(
      {
        width: Math.max(1, root.clientWidth),
        height: HEIGHT_PX[kind],
        legend: { show: false },
        padding: [8, 24, hasTime ? 0 : 8, 0],
        cursor: {
          sync: { key: "history" },
          drag: { x: false, y: false },
          points: { show: false },
          y: false,
        },
        scales: {
          x: { time: false, range: () => [-0.5, last() + 0.5] },
          y: { range: (_plot, _min, max) => [0, Math.max(MIN_RANGE[kind], (max || 0) * 1.05)] },
        },
        axes: [
          {
            ...axis,
            show: hasTime,
            size: 32,
            grid: { show: false },
            splits: ticks,
            values: (_plot, at) => at.map((index) => words?.tick(index) ?? ""),
          },
          {
            ...axis,
            size: LEFT_PX,
            label: () => words?.axes[kind] ?? "",
            labelSize: LABEL_PX,
            labelFont: FONT,
            space: 32,
            grid: { stroke: () => colour("--line"), width: 1 },
            incrs: INCREMENTS,
            values: (_plot, at) => at.map((value) => (kind === "count" ? words?.count(value) : words?.revenue(value)) ?? ""),
          },
        ],
        // Stacked bars: the total first, then the lower layers on top of it.
        series: [
          {},
          ...COLOURS.map((_, index) => ({
            ...(bars && { paths: bars }),
            fill: () => colour(COLOURS[COLOURS.length - 1 - index] ?? ""),
            width: 0,
            points: { show: false },
          })),
        ],
        hooks: {
          draw: [markResets],
          setCursor: [
            (plot) => {
              const { idx, left } = plot.cursor;
              const isOver = typeof idx === "number" && left !== undefined && left >= 0;
              point(isOver ? idx : undefined, isOver ? LABEL_PX + LEFT_PX + plot.valToPos(idx, "x") : 0);
            },
          ],
        },
      },
      [[], [], [], []],
      root,
    );
  };

  const data = (value: (bucket: Bucket, license: string) => number): uPlot.AlignedData => {
    const sums = COLOURS.map((_, layer) =>
      plotted.buckets.map((bucket) =>
        // The last colour covers all remaining licences.
        plotted.licenses
          .slice(0, layer === COLOURS.length - 1 ? undefined : layer + 1)
          .reduce((total, license) => total + value(bucket, license), 0),
      ),
    );
    return [plotted.buckets.map((_, index) => index), ...sums.toReversed()];
  };

  const redraw = (): void => {
    plots[0]?.setData(data((bucket, license) => bucket.byLicense.get(license)?.revenue.amount_minor ?? 0));
    plots[1]?.setData(data((bucket, license) => bucket.byLicense.get(license)?.salesCount ?? 0));
  };

  new ResizeObserver(() => {
    for (const plot of plots) {
      plot.setSize({ width: Math.max(1, root.clientWidth), height: plot.height });
    }
  }).observe(root);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  return {
    draw(newData, newLabels) {
      plotted = newData;
      words = newLabels;
      if (plots.length === 0) {
        plots = [make("revenue", false), make("count", true)];
      }
      redraw();
    },
  };
}
