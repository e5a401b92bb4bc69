/** Parts that the reports of all commands are made of; see each file. */
export { breakable, escapeMarkup, Markup, markup, type MarkupValue } from './markup';
export { htmlPage, type Page, type Section, type Tone } from './page';
export {
  dataTable,
  heatLegend,
  heatTable,
  notes,
  plotGrid,
  plotLegend,
  widePlot,
  type HeatCell,
  type HeatRow,
  type TableColumn,
  type TableRow,
} from './blocks';
export {
  histogramGrid,
  pointPlot,
  standaloneSvg,
  type HistogramGrid,
  type HistogramRow,
  type PointPlot,
  type PointSeries,
} from './plots';
