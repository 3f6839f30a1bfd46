// ECharts with what the console's charts use, in the page's colors.
import { useEffect, useRef, type RefObject } from "react";
import { useTheme } from "@mui/material";
import { LineChart } from "echarts/charts";
import { GridComponent, LegendComponent, MarkAreaComponent, MarkLineComponent, TitleComponent, TooltipComponent } from "echarts/components";
import { init, use, type ECharts } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

use([LineChart, GridComponent, LegendComponent, MarkAreaComponent, MarkLineComponent, TitleComponent, TooltipComponent, SVGRenderer]);

export const GRID = { left: 48, right: 16, top: 56, bottom: 40 };

/** A chart that is as wide as its box, which the caller renders. */
export function useChart(): { box: RefObject<HTMLDivElement | null>; chart: RefObject<ECharts | null> } {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<ECharts>(null);
  useEffect(() => {
    const made = (chart.current = init(box.current!, null, { renderer: "svg" }));
    const watcher = new ResizeObserver(() => made.resize());
    watcher.observe(box.current!);
    return () => {
      watcher.disconnect();
      made.dispose();
    };
  }, []);
  return { box, chart };
}

/** How text, axes and lines look. */
export function useLook() {
  const { palette } = useTheme();
  const ink = { color: palette.text.secondary };
  const text = { color: palette.text.primary };
  return { palette, ink, text, axis: { axisLabel: ink, nameTextStyle: ink, splitLine: { lineStyle: { color: palette.divider } } } };
}
