export {
  dirtiedBytes,
  type Forecast,
  type ForecastInput,
  forecast,
  type GuestLoad,
  type Link,
} from './forecast.ts';
export { type Bottleneck, type Hosts, type Load, moveSeconds, type PageCosts, wireBytes } from './rates.ts';
export { type Candidate, type Recommendation, recommend } from './recommend.ts';
