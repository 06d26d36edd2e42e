// A short session of the JavaScript client: objects, watches, patches, and what the server refuses.

import assert from 'node:assert/strict';
import * as k8s from '@kubernetes/client-node';

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const namespace = 'javascript';

/** The status that the server refuses a call with. */
async function refused(code, reason, call) {
  try {
    await call();
  } catch (error) {
    const body = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
    assert.equal(error.code, code, JSON.stringify(body));
    assert.equal(body.reason, reason);
    return body;
  }
  assert.fail(`not refused with ${code}`);
}

assert.equal((await config.makeApiClient(k8s.VersionApi).getCode()).minor, '36');
assert.ok((await core.listNode()).items[0].status.conditions.length > 0);
await core.createNamespace({ body: { metadata: { name: namespace } } });

// A watch from the list on, until the object is gone.
const seen = [];
const list = await core.listNamespacedConfigMap({ namespace });
let ended;
const gone = new Promise((resolve, reject) => { ended = { resolve, reject }; });
const request = await new k8s.Watch(config).watch(
  `/api/v1/namespaces/${namespace}/configmaps`,
  { resourceVersion: list.metadata.resourceVersion, fieldSelector: 'metadata.name=data' },
  (type, object) => {
    seen.push([type, object.data]);
    if (type === 'DELETED') ended.resolve();
  },
  (error) => ended.reject(error ?? new Error('the watch ended')),
);

// Create, read, replace, patch in each way, delete.
const made = await core.createNamespacedConfigMap({
  namespace, body: { metadata: { name: 'data', labels: { a: 'b' } }, data: { k: '1' } },
});
assert.ok(made.metadata.uid);
assert.ok(made.metadata.creationTimestamp instanceof Date);
const read = await core.readNamespacedConfigMap({ name: 'data', namespace });
read.data.k = '2';
await core.replaceNamespacedConfigMap({ name: 'data', namespace, body: read });
await refused(409, 'Conflict', () => core.replaceNamespacedConfigMap({ name: 'data', namespace, body: made }));
const patch = (strategy, body) =>
  core.patchNamespacedConfigMap({ name: 'data', namespace, body }, k8s.setHeaderOptions('Content-Type', strategy));
await patch(k8s.PatchStrategy.MergePatch, { data: { k: '3' } });
await patch(k8s.PatchStrategy.JsonPatch, [{ op: 'add', path: '/data/l', value: '4' }]);
await patch(k8s.PatchStrategy.StrategicMergePatch, { metadata: { labels: { a: 'c' } } });
const selected = await core.listNamespacedConfigMap({ namespace, labelSelector: 'a=c' });
assert.deepEqual(selected.items.map((item) => item.data), [{ k: '3', l: '4' }]);
await core.deleteNamespacedConfigMap({ name: 'data', namespace });
await gone;
request.abort();
assert.deepEqual(seen.map(([type]) => type), ['ADDED', 'MODIFIED', 'MODIFIED', 'MODIFIED', 'MODIFIED', 'DELETED']);

// An informer sees a Deployment's pods come up.
const pods = k8s.makeInformer(
  config, `/api/v1/namespaces/${namespace}/pods`, () => core.listNamespacedPod({ namespace }),
);
const running = new Promise((resolve, reject) => {
  const names = new Set();
  const look = (pod) => {
    if (pod.status?.phase === 'Running') names.add(pod.metadata.name);
    if (names.size === 2) resolve();
  };
  pods.on('add', look);
  pods.on('update', look);
  pods.on('error', reject);
});
await pods.start();
const labels = { app: 'web' };
await apps.createNamespacedDeployment({
  namespace,
  body: {
    metadata: { name: 'web' },
    spec: {
      replicas: 2, selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'nginx' }] } },
    },
  },
});
await running;
await pods.stop();

// What is refused, and how.
const missing = await refused(404, 'NotFound', () => core.readNamespacedPod({ name: 'nope', namespace }));
assert.equal(missing.message, 'pods "nope" not found');
await refused(409, 'AlreadyExists', () => core.createNamespace({ body: { metadata: { name: namespace } } }));
const invalid = await refused(422, 'Invalid', () =>
  core.createNamespacedPod({ namespace, body: { metadata: { name: 'x' }, spec: { containers: [] } } }));
assert.equal(invalid.details.causes[0].field, 'spec.containers');

// The generic client finds kinds by discovery.
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const web = await objects.read({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace } });
assert.equal(web.spec.replicas, 2);

await core.deleteNamespace({ name: namespace });
console.log('the JavaScript client is content');
process.exit(0);
