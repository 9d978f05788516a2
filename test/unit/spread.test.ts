import { describe, expect, it } from 'vitest';
import { diff } from '../../src/plan/diff.ts';
import { emptyState, type RouteState, routeProtocol } from '../../src/plan/host.ts';
import { spread } from '../../src/plan/spread.ts';

const dev = 'culvert-vxlan';
const route4 = (i: number): RouteState => {
  const via = `10.${i >> 8}.${i & 255}.0`;
  return { prefix: `${via}/24`, via, dev, protocol: routeProtocol, onlink: true };
};
const routes = (count: number): RouteState[] => Array.from({ length: count }, (_, i) => route4(i));
const state = (list: RouteState[]) => ({ ...emptyState(), routes: list });

describe('spread()', () => {
  it('leaves a few routes as they are', () => {
    expect(spread(routes(500))).toEqual(routes(500));
  });

  it('gives many routes many scopes, each the same again and below "site"', () => {
    const scopes = spread(routes(5000)).map((r) => Number(r.scope));
    const counts = [...Map.groupBy(scopes, (s) => s).values()].map((group) => group.length);
    expect(counts.length).toBe(199);
    expect(Math.max(...counts)).toBeLessThan(100);
    expect(Math.min(...scopes)).toBe(1);
    expect(Math.max(...scopes)).toBe(199);
    expect(spread(routes(5000)).map((r) => Number(r.scope))).toEqual(scopes);
  });

  it('hands out the same object for the same route', () => {
    const many = routes(501);
    const before = spread(many);
    expect(spread(many).every((r, i) => r === before[i])).toBe(true);
  });

  it('leaves alone what the kernel does not look up so: IPv6 next hops, and none', () => {
    const others: RouteState[] = [
      { prefix: 'fd00:1::/64', via: 'fe80::1', dev, protocol: routeProtocol },
      { prefix: '10.1.0.0/24', dev: 'culvert-wg', protocol: routeProtocol },
    ];
    expect(spread([...others, ...routes(501)]).slice(0, 2)).toEqual(others);
  });

  it('replaces what there is once when routes become many, and nothing when they become few again', () => {
    const [few, many] = [spread(routes(500)), spread(routes(501))];
    expect(diff(state(few), state(many))).toHaveLength(501);
    expect(diff(state(many), state(few))).toMatchObject([{ op: 'delete-route' }]);
  });
});
