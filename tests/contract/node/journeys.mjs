// The journeys of an administrator and a learner, by the web clients' own transport: @edx/frontend-platform's service for
// signed-in requests, in a page that jsdom makes. So origins, preflights and cookies are as a browser has them.
//
// Reads a JSON object from standard input (see test_real_transport.py) and writes one: how many requests there were,
// by method. Any difference from what the clients expect ends it with a stack trace.

import assert from 'node:assert/strict';
import { subscribe } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { CookieJar, JSDOM } from 'jsdom';

const given = JSON.parse(readFileSync(0, 'utf8'));
const API = `${given.url}/api/v1`;
const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const sent = {};
const count = (method) => { sent[method] = (sent[method] ?? 0) + 1; };
subscribe('http.client.request.start', ({ request }) => count(request.method));
subscribe('undici:request:create', ({ request }) => count(request.method));

const bundled = await build({
  stdin: {
    contents: `
      export { default as AuthService } from '@edx/frontend-platform/auth/AxiosJwtAuthService';
      export { camelCaseObject, snakeCaseObject } from '@edx/frontend-platform/utils';`,
    resolveDir: FOLDER,
  },
  bundle: true, write: false, format: 'iife', globalName: 'platform', platform: 'browser',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
});

// A page of this origin, in a browser that has this token in its cookies; and the HTTP clients in it.
async function page(origin, token) {
  const jar = new CookieJar();
  const dot = token.lastIndexOf('.');
  await jar.setCookie(`edx-jwt-cookie-header-payload=${token.slice(0, dot)}; Path=/`, given.url);
  await jar.setCookie(`edx-jwt-cookie-signature=${token.slice(dot + 1)}; Path=/; HttpOnly`, given.url);
  const { window } = new JSDOM('', { url: `${origin}/`, cookieJar: jar, runScripts: 'outside-only' });
  window.eval(`${bundled.outputFiles[0].text}; window.platform = platform;`);
  const logged = [];
  const service = new window.platform.AuthService({
    config: {
      BASE_URL: origin,
      LMS_BASE_URL: 'http://127.0.0.1:9',
      LOGIN_URL: 'http://127.0.0.1:9/login',
      LOGOUT_URL: 'http://127.0.0.1:9/logout',
      REFRESH_ACCESS_TOKEN_ENDPOINT: 'http://127.0.0.1:9/login_refresh',
      ACCESS_TOKEN_COOKIE_NAME: 'edx-jwt-cookie-header-payload',
      CSRF_TOKEN_API_PATH: '/csrf/api/v1/token',
    },
    loggingService: { logError: (error) => logged.push(error), logInfo: () => {} },
  });
  const http = service.getAuthenticatedHttpClient();
  // As text and back, since the page's arrays are not Node's.
  const here = (data) => (data === '' ? '' : JSON.parse(JSON.stringify(data)));
  const camel = ({ status, data }) => ({ status, data: here(window.platform.camelCaseObject(data)) });
  return {
    window, logged,
    plain: service.getHttpClient(),
    get: async (url) => camel(await http.get(url)),
    post: async (url, body) => camel(await http.post(url, body)),
  };
}

// What the clients read of a refusal; nothing of it where the answer had no CORS headers.
async function refused(request) {
  const error = await request.then(() => assert.fail('it was not refused'), (caught) => caught);
  const { httpErrorStatus: status, httpErrorResponseData: data } = error.customAttributes ?? {};
  return { status, data: data === undefined ? undefined : JSON.parse(data) };
}

async function until(ask) {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((go) => { setTimeout(go, 100); })) {
    const found = await ask();
    if (found) { return found; }
  }
  return assert.fail('it did not become so within a minute');
}

async function asAdministrator() {
  const { get, post, logged } = await page(given.origin, given.administrator);
  const listed = await get(`${API}/subsidy-access-policies/?enterprise_customer_uuid=${given.customer}&active=true`);
  assert.equal(listed.data.results[0].uuid, given.policy);
  assert.equal(typeof listed.data.results[0].aggregates.spendAvailableUsd, 'number');
  const policy = (await get(`${API}/subsidy-access-policies/${given.policy}/`)).data;
  assert.equal(policy.policyType, 'AssignedLearnerCreditAccessPolicy');
  const rows = `${API}/assignment-configurations/${policy.assignmentConfiguration.uuid}/admin/assignments/`;

  const allocate = (key, emails) => post(`${API}/policy-allocation/${given.policy}/allocate/`, {
    content_key: key, content_price_cents: 199.0 * 100, learner_emails: emails, admin_lms_user_id: 1,
  });
  const allocated = await allocate(given.course, [given.learnerEmail, 'bob@learners.example']);
  assert.equal(allocated.status, 202);
  assert.equal(allocated.data.created.length + allocated.data.updated.length, 2);
  assert.equal(allocated.data.noChange.length, 0);
  await allocate(given.other, [given.learnerEmail]);
  const bad = await refused(allocate(given.course, ['ünï@learners.example']));
  assert.deepEqual([bad.status, bad.data[0].reason], [422, 'invalid_addresses']);

  const waiting = await until(async () => {
    const { data } = await get(`${rows}?page_size=25&learner_state__in=waiting`);
    return data.count === 3 && data;
  });
  assert.ok(waiting.learnerStateCounts.find((one) => one.learnerState === 'waiting'));
  for (const row of waiting.results) {
    assert.ok(row.recentAction.actionType && row.earliestPossibleExpiration.date);
  }
  assert.equal((await post(`${rows}remind-all/?learner_state=waiting`)).status, 202);
  const other = waiting.results.find((row) => row.contentKey === given.other);
  assert.equal((await post(`${rows}cancel/`, { assignment_uuids: [other.uuid] })).status, 200);
  assert.equal((await refused(get(`${API}/subsidy-access-policies/${given.customer}/`))).status, 404);
  assert.equal((await post(`${rows}cancel/`, { assignment_uuids: [other.uuid] })).status, 200);
  assert.deepEqual(logged, []);
  return rows;
}

async function asLearner(rows) {
  const { get, post, plain, logged } = await page(given.origin, given.learner);
  const dashboard = await post(`${API}/bffs/learner/dashboard/`, { enterprise_customer_slug: given.slug });
  assert.equal(dashboard.data.enterpriseCustomer.uuid, given.customer);
  const ask = `${API}/policy-redemption/credits_available/?enterprise_customer_uuid=${given.customer}&lms_user_id=7`;
  const [policy] = (await get(ask)).data;
  assert.deepEqual(policy.groupAssociations, []);
  const assignments = policy.learnerContentAssignments;
  const open = assignments.find((one) => one.contentKey === given.course);
  const ended = assignments.find((one) => one.contentKey === given.other);
  assert.deepEqual([open.state, ended.state], ['allocated', 'cancelled']);
  assert.ok(open.earliestPossibleExpiration.date && Array.isArray(open.contentMetadata.partners));

  const keys = `content_key=${encodeURIComponent(given.course)}`;
  const canRedeem = `${API}/policy-redemption/enterprise-customer/${given.customer}/can-redeem/?${keys}`;
  const [redeemable] = (await get(canRedeem)).data;
  assert.equal(redeemable.canRedeem, true);
  const body = { lms_user_id: 7, content_key: given.course, metadata: {} };
  const redeemed = (await post(redeemable.redeemableSubsidyAccessPolicy.policyRedemptionUrl, body)).data;
  assert.ok(['committed', 'pending'].includes(redeemed.state));
  await until(async () => (await get(redeemed.transactionStatusApiUrl)).data.state === 'committed');

  const acknowledging = `${API}/assignment-configurations/${given.configuration}/acknowledge-assignments/`;
  const acknowledged = () => post(acknowledging, { assignment_uuids: [ended.uuid] });
  assert.deepEqual([(await acknowledged()).status, (await acknowledged()).status], [201, 200]);
  assert.deepEqual((await get(ask)).data[0].learnerContentAssignments.map((one) => one.state), ['accepted']);

  assert.equal((await refused(get(rows))).status, 404);
  const withoutToken = plain.post(acknowledging, { assignment_uuids: [ended.uuid] }, { withCredentials: true });
  const { response } = await withoutToken.then(() => assert.fail('it needs the CSRF token'), (caught) => caught);
  assert.deepEqual([response.status, response.data.reason], [403, 'not_permitted']);
  assert.deepEqual(logged, []);
}

async function asAnotherSite() {
  const { get, window } = await page(given.stranger, given.administrator);
  window.console.error = () => {};
  assert.equal((await refused(get(`${API}/subsidy-access-policies/`))).status, undefined);
}

await asLearner(await asAdministrator());
await asAnotherSite();
process.stdout.write(JSON.stringify(sent));
process.exit(0); // jsdom's windows are still open
