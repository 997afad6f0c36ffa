/* The renderer: sphere tracing of turned and bent signed-distance parts, with cone-traced light.
   Everything is deterministic: no random numbers, smooth cones instead of noisy rays. */
#include <math.h>
#include <stddef.h>
#include "scene.h"

#define FLOOR_STEP 2

typedef struct { float x, y, z; } vec;

static inline vec v(float x, float y, float z) { vec r = {x, y, z}; return r; }
static inline vec add(vec a, vec b) { return v(a.x + b.x, a.y + b.y, a.z + b.z); }
static inline vec sub(vec a, vec b) { return v(a.x - b.x, a.y - b.y, a.z - b.z); }
static inline vec mul(vec a, float s) { return v(a.x * s, a.y * s, a.z * s); }
static inline vec prod(vec a, vec b) { return v(a.x * b.x, a.y * b.y, a.z * b.z); }
static inline float dot(vec a, vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static inline vec unit(vec a) { return mul(a, 1.0f / sqrtf(dot(a, a) + 1e-20f)); }
static inline vec cross(vec a, vec b) {
    return v(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
static inline float clampf(float x, float lo, float hi) { return x < lo ? lo : (x > hi ? hi : x); }
static inline float ramp(float lo, float hi, float x) {
    float t = clampf((x - lo) / (hi - lo), 0, 1);
    return t * t * (3 - 2 * t);
}
static inline float lerp(float a, float b, float t) { return a + (b - a) * t; }
static inline vec mix(vec a, vec b, float t) { return add(mul(a, 1 - t), mul(b, t)); }

/* ---- noise ------------------------------------------------------------------------------------------------- */

static inline unsigned hash3(int x, int y, int z) {
    unsigned h = (unsigned)x * 0x8da6b343u ^ (unsigned)y * 0xd8163841u ^ (unsigned)z * 0xcb1ab31fu;
    h ^= h >> 15; h *= 0x2c1b3c6du; h ^= h >> 12; h *= 0x297a2d39u; h ^= h >> 15;
    return h;
}
static inline float rnd(int x, int y, int z) { return (float)(hash3(x, y, z) >> 8) * (1.0f / 16777216.0f); }

static float noise(vec p) { /* value noise, 0 … 1 */
    int xi = (int)floorf(p.x), yi = (int)floorf(p.y), zi = (int)floorf(p.z);
    float fx = p.x - xi, fy = p.y - yi, fz = p.z - zi;
    fx = fx * fx * (3 - 2 * fx); fy = fy * fy * (3 - 2 * fy); fz = fz * fz * (3 - 2 * fz);
    float a[2];
    for (int k = 0; k < 2; k++) {
        float lo = lerp(rnd(xi, yi, zi + k), rnd(xi + 1, yi, zi + k), fx);
        float hi = lerp(rnd(xi, yi + 1, zi + k), rnd(xi + 1, yi + 1, zi + k), fx);
        a[k] = lerp(lo, hi, fy);
    }
    return lerp(a[0], a[1], fz);
}
static float cloud(vec p) { return 0.55f * noise(p) + 0.3f * noise(mul(p, 2.13f)) + 0.15f * noise(mul(p, 4.4f)); }

static float specks(vec p, float frequency, float share) { /* 1 inside a speck */
    vec q = mul(p, frequency);
    int xi = (int)floorf(q.x), yi = (int)floorf(q.y), zi = (int)floorf(q.z);
    float best = 0;
    for (int k = -1; k <= 1; k++) for (int j = -1; j <= 1; j++) for (int i = -1; i <= 1; i++) {
        int cx = xi + i, cy = yi + j, cz = zi + k;
        if (rnd(cx + 71, cy, cz) > share) continue;
        float radius = 0.14f + 0.34f * powf(rnd(cx, cy + 37, cz), 3);
        vec c = v(cx + rnd(cx, cy, cz + 5), cy + rnd(cx + 9, cy, cz), cz + rnd(cx, cy + 3, cz));
        vec e = sub(q, c);
        float d = sqrtf(dot(e, e)) / radius;
        float s = ramp(1.0f, 0.6f, d) * (0.45f + 0.55f * rnd(cx, cy, cz + 91));
        if (s > best) best = s;
    }
    return best;
}

/* ---- shapes ------------------------------------------------------------------------------------------------ */

/* points: x, y, radius for each; strokes are chains of them. solid: the first stroke is a closed outline. */
void build_grid(float *dist, float *aux, float *along, int nx, int ny, float x0, float y0, float step,
                const float *points, const int *starts, int strokes, int solid) {
    for (int j = 0; j < ny; j++) for (int i = 0; i < nx; i++) {
        float x = x0 + i * step, y = y0 + j * step;
        float best = 1e9f, best_aux = 0, best_along = -1, best_centre = 1e9f;
        int inside = 0;
        for (int s = 0; s < strokes; s++) {
            int first = starts[s], last = starts[s + 1] - 1;
            for (int k = first; k < last; k++) {
                const float *a = points + 3 * k, *b = a + 3;
                float ex = b[0] - a[0], ey = b[1] - a[1], px = x - a[0], py = y - a[1];
                float h = clampf((px * ex + py * ey) / (ex * ex + ey * ey + 1e-20f), 0, 1);
                float dx = px - h * ex, dy = py - h * ey;
                float centre = sqrtf(dx * dx + dy * dy), radius = lerp(a[2], b[2], h), d = centre - radius;
                if (solid == 2 ? centre < best_centre : d < best) {
                    best = d; best_centre = centre;
                    best_aux = solid == 2 ? radius : (ex * py - ey * px > 0 ? -centre : centre);
                    best_along = s ? -1 : (k - first + h) / (float)(last - first);
                }
                if (solid == 1 && s == 0 && (a[1] > y) != (b[1] > y) && x < a[0] + ex * (y - a[1]) / ey) inside = !inside;
            }
        }
        size_t at = (size_t)j * nx + i;
        if (solid == 1) { dist[at] = inside ? -best_centre : best; aux[at] = 1; along[at] = -1; }
        else { dist[at] = solid == 2 ? best_centre : best; aux[at] = best_aux; along[at] = best_along; }
    }
}

static inline float look_up(const Part *part, const float *grid, float x, float y) {
    float gx = clampf((x - part->x0) * part->inv, 0, part->nx - 1.001f);
    float gy = clampf((y - part->y0) * part->inv, 0, part->ny - 1.001f);
    int i = (int)gx, j = (int)gy;
    float fx = gx - i, fy = gy - j;
    const float *g = grid + (size_t)j * part->nx + i;
    return lerp(lerp(g[0], g[1], fx), lerp(g[part->nx], g[part->nx + 1], fx), fy);
}

/* How far (x, y) lies outside the part's grid. The grid holds the whole shape, so with the border's distance b the
   true distance is at least sqrt(outside² + b²): a continuous lower bound, never a guess. */
static inline float outside(const Part *part, float x, float y) {
    float dx = fmaxf(part->type ? part->x0 - x : 0, x - part->x0 - (part->nx - 1) / part->inv);
    float dy = fmaxf(part->y0 - y, y - part->y0 - (part->ny - 1) / part->inv);
    dx = fmaxf(dx, 0); dy = fmaxf(dy, 0);
    return sqrtf(dx * dx + dy * dy);
}

static float part_distance(const Part *part, vec p) {
    if (part->type == 0) {
        float r = sqrtf(p.x * p.x + p.z * p.z), far = outside(part, r, p.y);
        float d = look_up(part, part->dist, r, p.y);
        if (far > 0) return sqrtf(far * far + d * d);
        if (part->flutes && d < 0.1f) {
            float wave = 0.5f + 0.5f * cosf(part->flutes * atan2f(p.z, p.x)); /* 1 on a rib, 0 in a groove */
            float along = ramp(part->flute_lo, part->flute_lo + 0.09f, p.y) * ramp(part->flute_hi, part->flute_hi - 0.09f, p.y);
            float depth = part->flute_depth * along * (1 - sqrtf(wave + 0.01f)) * ramp(0.1f, 0.0f, d);
            float side = part->solid ? 1 : look_up(part, part->aux, r, p.y);
            /* Only the outer face moves: of a wall, what lies outside its centre line. */
            d = 0.8f * fmaxf(d, (side > 0 ? d : 2 * side + d) + depth);
        }
        return d;
    }
    float far = outside(part, p.x, p.y), centre = look_up(part, part->dist, p.x, p.y);
    float radius = look_up(part, part->aux, p.x, p.y), z = p.z / part->flatten;
    float d = sqrtf(centre * centre + far * far + z * z) - radius;
    if (part->flatten < 1) d *= part->flatten;
    if (part->shell > 0 && far == 0) d = fmaxf(d, -(d + part->shell));
    if (part->cut_nx != 0 || part->cut_ny != 0)
        d = fmaxf(d, (p.x - part->cut_x) * part->cut_nx + (p.y - part->cut_y) * part->cut_ny);
    return d * 0.92f;
}

static float distance(const Scene *scene, vec p, int *nearest) {
    float total = 1e9f, closest = 1e9f;
    for (int i = 0; i < scene->part_count; i++) {
        const Part *part = scene->parts + i;
        vec to = sub(p, v(part->ball[0], part->ball[1], part->ball[2]));
        float least = fmaxf(closest, total + part->blend) + part->ball[3];
        /* Most parts are too far away to matter. 0.92: what a tube's distance is shortened by. */
        if (i && dot(to, to) * 0.64f > least * least) continue;
        float d = part_distance(part, p);
        if (part->clip && d < 0.2f) {
            float r = sqrtf(p.x * p.x + p.z * p.z);
            d = fmaxf(d, -look_up(scene->parts, scene->parts[0].aux, r, p.y));
        }
        if (nearest && d < closest) { closest = d; *nearest = i; }
        if (part->blend > 0) {
            float h = fmaxf(part->blend - fabsf(total - d), 0) / part->blend;
            total = fminf(total, d) - h * h * part->blend * 0.25f;
        } else total = fminf(total, d);
    }
    return total;
}

static vec normal_at(const Scene *scene, vec p) {
    const float e = 0.0026f;
    vec a = v(e, -e, -e), b = v(-e, -e, e), c = v(-e, e, -e), d = v(e, e, e);
    return unit(add(add(mul(a, distance(scene, add(p, a), NULL)), mul(b, distance(scene, add(p, b), NULL))),
                    add(mul(c, distance(scene, add(p, c), NULL)), mul(d, distance(scene, add(p, d), NULL)))));
}

/* Where the ray enters and leaves the box of everything, grown by `grow`. */
static int clip_box(const Scene *scene, vec o, vec d, float grow, float *near, float *far) {
    float t0 = 0, t1 = 1e9f;
    const float origin[3] = {o.x, o.y, o.z}, direction[3] = {d.x, d.y, d.z};
    for (int k = 0; k < 3; k++) {
        float inv = 1.0f / (fabsf(direction[k]) < 1e-7f ? 1e-7f : direction[k]);
        float a = (scene->box[k] - grow - origin[k]) * inv, b = (scene->box[k + 3] + grow - origin[k]) * inv;
        if (a > b) { float s = a; a = b; b = s; }
        t0 = fmaxf(t0, a); t1 = fminf(t1, b);
    }
    *near = t0; *far = t1;
    return t0 < t1;
}

static int march(const Scene *scene, vec o, vec d, float start, int limit, float *hit) {
    float t, end;
    if (!clip_box(scene, o, d, 0.01f, &t, &end)) return 0;
    t = fmaxf(t, start);
    for (int i = 0; i < limit && t < end; i++) {
        float s = distance(scene, add(o, mul(d, t)), NULL);
        if (s < 0.0004f) { *hit = t; return 1; }
        t += s * 0.94f;
    }
    return 0;
}

/* ---- light ------------------------------------------------------------------------------------------------- */

static float panel(vec d, vec to, float half_w, float half_h, float soft) {
    float facing = dot(d, to);
    if (facing <= 0.05f) return 0;
    vec side = unit(cross(v(0, 1, 0), to)), top = cross(to, side);
    float a = fabsf(dot(d, side) / facing), b = fabsf(dot(d, top) / facing);
    return ramp(half_w + soft, half_w - soft, a) * ramp(half_h + soft, half_h - soft, b);
}

/* Light that arrives from direction d out of the studio; soft widens the edges of the lamps. */
static vec studio(const Scene *scene, vec d, float soft) {
    vec key = v(scene->key[0], scene->key[1], scene->key[2]);
    float base = lerp(0.34f, 0.86f, ramp(-0.1f, 0.95f, d.y));
    base *= lerp(1.0f, 0.62f, ramp(0.1f, 0.9f, d.z) * ramp(0.75f, 0.2f, d.y));
    float s = scene->key_size;
    float box = panel(d, key, s, s * 1.25f, 0.03f + soft);
    vec strip = unit(v(-1.15f * key.x, 0.42f, 0.10f));
    float rim = panel(d, strip, 0.14f, 0.75f, 0.035f + soft * 0.6f);
    vec light = add(mul(v(1.0f, 0.985f, 0.96f), box * 6.5f * fminf(1.0f, 0.55f / s)), mul(v(0.95f, 0.98f, 1.0f), rim * 2.4f));
    return add(light, mul(v(0.97f, 0.985f, 1.0f), base));
}

static vec backdrop(const Scene *scene) { return v(scene->backdrop[0], scene->backdrop[1], scene->backdrop[2]); }

/* How much of a cone around d is free, 0 … 1. k: 1 / tangent of its half angle. The closest passage between two
   steps is estimated as Sebastian Aaltonen showed (GDC 2018), which removes the rings of the plain method. */
static float open_cone(const Scene *scene, vec p, vec d, float facing, float k) {
    vec to = sub(v(scene->ball[0], scene->ball[1], scene->ball[2]), p);
    float along = dot(to, d), away = sqrtf(fmaxf(dot(to, to) - along * along, 0)), radius = scene->ball[3];
    if (away > radius + fmaxf(along + radius, 0) / k) return 1;
    float kk = fmaxf(k, 1.0f / (facing + 0.03f)), free = 1, before = 1e9f;
    float far = along + radius + 0.2f, t = fmaxf(along - radius - away / (k + 1), 0.012f);
    for (int i = 0; i < 40 && t < far; i++) {
        float s = distance(scene, add(p, mul(d, t)), NULL);
        float back = s * s / (2 * before), gap = sqrtf(fmaxf(s * s - back * back, 0));
        if (i == 0) { back = 0; gap = s; }
        free = fminf(free, kk * gap / fmaxf(t - back, 0.004f));
        if (free < 0.01f) return 0;
        before = s;
        t += clampf(s * 0.75f, 0.008f + 0.012f * t, 0.4f);
    }
    free = clampf(free, 0, 1);
    return free * free * (3 - 2 * free) * 0.5f + free * 0.5f;
}

static vec cone_direction(int i, int cones) { /* spherical Fibonacci: even, and the same for every point */
    float y = 1.0f - (2.0f * i + 1.0f) / cones, r = sqrtf(1 - y * y), a = i * 2.39996323f + 0.4f;
    return v(r * cosf(a), y, r * sinf(a));
}

/* Softened so that a direction fades in before it rises over the surface's horizon. */
static inline float cone_weight(float facing) { return facing <= 0 ? 0 : facing; }

static vec gather(const Scene *scene, vec p, vec n, vec tint, int is_floor) {
    vec sum = v(0, 0, 0), floor = backdrop(scene);
    float weight = 0;
    for (int i = 0; i < scene->cones; i++) {
        vec d = cone_direction(i, scene->cones);
        float facing = dot(n, d), w = cone_weight(facing);
        if (w <= 0) continue;
        weight += w;
        float free = open_cone(scene, p, d, facing, 2.3f);
        vec light;
        if (d.y < -0.02f && !is_floor) {
            vec q = add(p, mul(d, p.y / -d.y));
            float gap = distance(scene, v(q.x, 0.0f, q.z), NULL);
            light = mul(floor, 0.22f + 0.62f * ramp(0.0f, 0.55f, gap));
        } else light = studio(scene, d, 0.5f);
        vec blocked = mul(tint, is_floor ? 0.16f : 0.34f);
        sum = add(sum, mul(mix(blocked, light, free), w));
    }
    return mul(sum, 1.0f / weight);
}

/* Main light on p with normal n, 0 … 1 times the cosine. */
static float key_light(const Scene *scene, vec p, vec n) {
    vec key = v(scene->key[0], scene->key[1], scene->key[2]);
    vec side = unit(cross(v(0, 1, 0), key)), top = cross(key, side);
    float sum = 0, s = scene->key_size * 0.62f;
    static const float spots[7][2] = {{0, 0}, {1, 0.1f}, {-1, -0.1f}, {0.45f, 1}, {-0.45f, 1}, {0.45f, -1}, {-0.45f, -1}};
    for (int i = 0; i < scene->spots; i++) {
        vec d = unit(add(key, add(mul(side, s * spots[i][0]), mul(top, s * spots[i][1]))));
        float facing = dot(n, d);
        if (facing > 0) sum += facing * open_cone(scene, p, d, facing, 2.0f / fmaxf(scene->key_size, 0.05f));
    }
    return sum / scene->spots;
}

/* What the open floor gets from the studio's ambient light, for the exposure. */
float open_floor(const Scene *scene) {
    float sum = 0, weight = 0;
    for (int i = 0; i < scene->cones; i++) {
        vec d = cone_direction(i, scene->cones);
        if (d.y <= 0) continue;
        vec light = studio(scene, d, 0.5f);
        sum += (light.x + light.y + light.z) / 3 * d.y;
        weight += d.y;
    }
    return sum / weight;
}

static vec irradiance(const Scene *scene, vec p, vec n, vec tint, int is_floor) {
    float share = scene->key_share;
    vec soft = mul(gather(scene, p, n, tint, is_floor), (1 - share) / scene->open_light);
    return add(soft, mul(v(1.01f, 1.0f, 0.98f), key_light(scene, p, n) / scene->key[1] * share));
}

/* ---- surfaces ---------------------------------------------------------------------------------------------- */

typedef struct { vec colour; float gloss; int look; float glow; vec bump; } Surface;

static Surface surface_at(const Scene *scene, vec p, int nearest) {
    const Part *part = scene->parts + nearest;
    int index = part->material;
    float along = -1;
    if (part->type == 0) {
        float r = sqrtf(p.x * p.x + p.z * p.z);
        along = look_up(part, part->along, r, p.y);
        if (look_up(part, part->aux, r, p.y) < 0) index = part->inner;
    }
    const Material *m = scene->materials + index;
    vec clay = v(m->clay_r, m->clay_g, m->clay_b);
    Surface s = {v(m->r, m->g, m->b), m->gloss, m->look, m->glow, v(0, 0, 0)};
    float angle = atan2f(p.z, p.x);
    if (m->look == 0) {
        if (m->over > 0) {
            float edge = m->over + 0.05f * (noise(v(p.x * 5 + 3, 1.7f, p.z * 5)) - 0.5f) - p.y;
            float t = ramp(0.012f, -0.012f, edge), pool = expf(-powf((edge + 0.012f) / 0.02f, 2));
            s.colour = mix(s.colour, v(m->over_r, m->over_g, m->over_b), t);
            s.colour = mul(s.colour, 1 - 0.14f * pool);
        }
        float c = cloud(mul(p, 5.5f)) - 0.5f, f = cloud(add(mul(p, 26.0f), v(9, 2, 4))) - 0.5f;
        s.colour = mul(s.colour, 1 + m->mottle * (0.62f * c + 0.28f * f));
        if (along > 0 && m->rim > 0) {
            float breaks = ramp(0.970f, 0.994f, along + 0.012f * (noise(mul(p, 14)) - 0.5f));
            s.colour = mix(s.colour, mul(clay, 0.8f), breaks * m->rim);
        }
        if (m->speckle > 0) {
            float k = fmaxf(specks(p, 34, m->speckle), 0.7f * specks(add(p, v(5, 5, 5)), 75, m->speckle * 0.8f));
            s.colour = mix(s.colour, v(0.07f, 0.045f, 0.03f), 0.72f * k);
        }
        float line = m->dip + 0.016f * (noise(v(cosf(angle) * 3 + 8, 0, sinf(angle) * 3 + 8)) - 0.5f);
        if (m->dip > 0 && p.y < line) {
            s.colour = mul(clay, 0.86f + 0.28f * noise(v(angle * 8, p.y * 130, 2)));
            s.colour = mul(s.colour, 0.9f + 0.2f * noise(mul(p, 180)));
            s.gloss = 0; s.look = 1;
        } else if (m->dip > 0) s.colour = mul(s.colour, 1 - 0.22f * expf(-powf((p.y - line) / 0.007f, 2)));
        if (m->ridges > 0) s.bump.y = m->ridges * 0.05f * sinf(p.y * 64 + 2.2f * noise(v(p.x * 2, p.y * 7, p.z * 2)));
        s.bump.x += 0.018f * (noise(mul(p, 7)) - 0.5f);
        s.bump.z += 0.018f * (noise(add(mul(p, 7), v(40, 0, 0))) - 0.5f);
    } else if (m->look == 1) {
        s.colour = mul(s.colour, 0.84f + 0.32f * noise(mul(p, 150)));
    } else if (m->look == 3) {
        float warp = sinf(angle * 420), weft = sinf(p.y * 520);
        float slub = noise(v(angle * 26, p.y * 210, 0)) * 0.6f + noise(v(angle * 190, p.y * 22, 7)) * 0.4f;
        s.colour = mul(s.colour, 0.90f + 0.045f * warp * weft + 0.15f * (slub - 0.2f));
    } else if (m->look == 4) {
        float rings = sinf(38 * (p.x + 0.35f * noise(v(p.x * 3, p.y * 1.5f, p.z * 2))) + 2.5f * noise(mul(p, 2)));
        float fibre = noise(v(p.x * 160, p.y * 8, p.z * 22));
        s.colour = mul(s.colour, 0.88f + 0.10f * rings + 0.18f * (fibre - 0.5f));
    } else if (m->look == 5) {
        float pits = specks(p, 42, 0.3f), grain = cloud(mul(p, 45));
        s.colour = mix(mul(s.colour, 0.72f + 0.56f * grain), v(0.16f, 0.09f, 0.05f), 0.7f * pits);
    }
    return s;
}

static vec floor_light(const Scene *scene, vec p) {
    float gap = distance(scene, v(p.x, 0.0f, p.z), NULL);
    return mul(backdrop(scene), 0.30f + 0.62f * ramp(0, 0.5f, gap));
}

/* What a mirror at p sees in direction d, one bounce, without its own shadows. */
static vec reflected(const Scene *scene, vec p, vec d, float soft) {
    float t;
    if (march(scene, p, d, 0.02f, 48, &t)) {
        vec q = add(p, mul(d, t));
        int nearest = 0;
        distance(scene, q, &nearest);
        vec n = normal_at(scene, q), key = v(scene->key[0], scene->key[1], scene->key[2]);
        Surface s = surface_at(scene, q, nearest);
        float light = 0.42f + 0.2f * n.y + 0.5f * fmaxf(0, dot(n, key)) * scene->key_share;
        return mul(s.colour, light);
    }
    if (d.y < 0) return mix(floor_light(scene, add(p, mul(d, p.y / -d.y))), studio(scene, d, soft), ramp(-0.40f, 0.04f, d.y));
    return studio(scene, d, soft);
}

/* known: the light on p where a neighbour has it already, else NULL; it is written to `kept`. */
static vec shade(const Scene *scene, vec p, vec ray, int nearest, const float *known, float *kept) {
    vec n = normal_at(scene, p);
    Surface s = surface_at(scene, p, nearest);
    if (s.look == 0) n = unit(add(n, s.bump));
    vec from = add(p, mul(n, 0.004f));
    vec mirror = sub(ray, mul(n, 2 * dot(ray, n)));
    float grazing = clampf(1 + dot(ray, n), 0, 1), schlick = powf(grazing, 5);
    if (s.look == 2) {
        vec sees = reflected(scene, from, mirror, 0.10f);
        return prod(mix(s.colour, v(1, 1, 1), schlick), mul(sees, 0.9f));
    }
    vec light = known ? v(known[0], known[1], known[2]) : irradiance(scene, from, n, s.colour, 0);
    if (kept) { kept[0] = light.x; kept[1] = light.y; kept[2] = light.z; }
    vec out = mul(prod(s.colour, light), scene->exposure);
    if (s.look == 3) {
        float height = (p.y - scene->box[1]) / (scene->box[4] - scene->box[1]);
        vec warm = prod(s.colour, v(1.0f, 0.86f, 0.66f));
        out = add(out, mul(warm, s.glow * (0.55f + 0.45f * expf(-powf((height - 0.78f) / 0.16f, 2)))));
        return out;
    }
    if (s.gloss <= 0) return out;
    float rough = (1 - s.gloss) * 0.55f;
    float strength = (0.045f + (0.75f - 0.5f * rough) * schlick) * lerp(0.45f, 1.0f, s.gloss);
    if (s.look == 4) strength *= 0.4f;
    float open = open_cone(scene, from, mirror, fmaxf(dot(n, mirror), 0.02f), 4);
    vec sees = reflected(scene, from, mirror, rough);
    return add(mul(out, 1 - strength), mul(sees, strength * (0.35f + 0.65f * open)));
}

/* ---- pictures ---------------------------------------------------------------------------------------------- */

static vec eye_of(const Scene *scene) { return v(scene->eye[0], scene->eye[1], scene->eye[2]); }

static vec ray_at(const Scene *scene, float px, float py, float *u, float *w) {
    *u = 2 * px / scene->width - 1; *w = 1 - 2 * py / scene->height;
    float tx = (*u + scene->shift_x) * scene->tangent, ty = (*w + scene->shift_y) * scene->tangent;
    vec right = v(scene->right[0], scene->right[1], scene->right[2]), up = v(scene->up[0], scene->up[1], scene->up[2]);
    return unit(add(v(scene->forward[0], scene->forward[1], scene->forward[2]), add(mul(right, tx), mul(up, ty))));
}

static vec planks(const Scene *scene, float x, float z) {
    float row = floorf(z / 0.42f), edge = z / 0.42f - row, g = scene->grain;
    float tone = rnd((int)row, 5, (int)(g * 97)), shift = 13 * tone;
    float rings = sinf(9 * z + 5 * noise(v(x * 0.35f + shift, z * 2.2f, g)) + 2.5f * noise(v(x * 1.4f, z * 9, g + shift)));
    float fibre = noise(v(x * 2.2f + shift, z * 55, g)) - 0.5f;
    vec colour = mul(backdrop(scene), 0.90f + 0.24f * (tone - 0.5f) + 0.09f * rings + 0.20f * fibre);
    float gap = ramp(0.0f, 0.035f, edge) * ramp(1.0f, 0.965f, edge);
    return mul(colour, 0.45f + 0.55f * gap);
}

static vec marble(const Scene *scene, float x, float z) {
    float g = scene->grain, warp = cloud(v(x * 1.3f + 7, z * 1.3f, g));
    float a = x * 0.8f + z * 1.1f + 2.6f * (warp - 0.5f), veins = 0;
    for (int k = 0; k < 3; k++) {
        float f = 1 << k, line = fabsf(noise(v(a * f * 0.9f + 3.1f * k, x * 0.5f * f - z * 0.8f * f, g + k)) - 0.5f);
        veins += ramp(0.075f, 0.0f, line) / (1 + 0.8f * k);
    }
    vec colour = mul(backdrop(scene), 1.0f - 0.10f * (cloud(v(x * 2, z * 2, g + 4)) - 0.5f));
    return mix(colour, v(0.20f, 0.20f, 0.23f), 0.55f * fminf(veins, 1) * (0.35f + 0.9f * warp));
}

/* Sunlight through a window of two by three panes, 0 … 1, carried along the main light. */
static float pane_light(const Scene *scene, vec p) {
    vec key = v(scene->key[0], scene->key[1], scene->key[2]);
    vec side = unit(cross(v(0, 1, 0), key)), top = cross(key, side), to = sub(p, v(0, 0.35f, 0));
    float a = dot(to, side) / 0.62f + 0.5f, b = dot(to, top) / 0.62f + 0.5f, soft = 0.035f;
    float fa = a - floorf(a), fb = b - floorf(b);
    float bars = ramp(0.05f - soft, 0.05f + soft, fa) * ramp(0.95f + soft, 0.95f - soft, fa)
               * ramp(0.05f - soft, 0.05f + soft, fb) * ramp(0.95f + soft, 0.95f - soft, fb);
    return bars * ramp(-1.1f, -1.0f, a) * ramp(2.1f, 2.0f, a) * ramp(-1.1f, -1.0f, b) * ramp(2.1f, 2.0f, b);
}

/* The table's or the wall's own colour where the ray meets it; `is_wall` says which. */
static vec set_at(const Scene *scene, vec eye, vec ray, int *is_wall) {
    vec back = v(scene->back[0], 0, scene->back[2]);
    float far = (scene->wall_at - dot(eye, back)) / fmaxf(dot(ray, back), 1e-4f);
    float down = ray.y < -1e-4f ? eye.y / -ray.y : 1e9f;
    *is_wall = far < down;
    vec p = add(eye, mul(ray, fminf(far, down)));
    float x = p.x * back.z - p.z * back.x, z = dot(p, back), lit = 1;
    if (scene->panes > 0) lit = lerp(1, 0.62f + 0.72f * pane_light(scene, p), scene->panes);
    if (*is_wall) {
        vec colour = mul(v(scene->wall[0], scene->wall[1], scene->wall[2]), 0.97f + 0.06f * (cloud(v(x, p.y, 3)) - 0.5f));
        return mul(colour, lit * (0.80f + 0.20f * ramp(0.0f, 0.5f, p.y)));
    }
    vec colour = scene->table == 1 ? planks(scene, x, z) : scene->table == 2 ? marble(scene, x, z) : backdrop(scene);
    return mul(colour, lit * (0.88f + 0.12f * ramp(0.0f, 0.6f, scene->wall_at - z)));
}

/* Light on the floor, 1 where it is open, every FLOOR_STEP pixels; it is smooth, so the rest is interpolated. */
void floor_pass(const Scene *scene, int row0, int row1, float *floor) {
    int size = scene->width / FLOOR_STEP + 2, is_wall = 0;
    vec eye = eye_of(scene), tint = v(scene->materials[0].r, scene->materials[0].g, scene->materials[0].b);
    for (int j = row0; j < row1; j++) for (int i = 0; i < size; i++) {
        float u, w, *out = floor + 3 * ((size_t)j * size + i);
        vec ray = ray_at(scene, i * FLOOR_STEP, j * FLOOR_STEP, &u, &w), light = v(1, 1, 1);
        if (scene->table) set_at(scene, eye, ray, &is_wall);
        if (ray.y < -0.01f && !is_wall) {
            vec p = add(eye, mul(ray, eye.y / -ray.y));
            float x = p.x - scene->ball[0], z = p.z - scene->ball[2], gap = sqrtf(x * x + z * z) - scene->ball[3];
            if (gap < 3) {
                light = irradiance(scene, v(p.x, 0.003f, p.z), v(0, 1, 0), tint, 1);
                light = mix(light, v(1, 1, 1), ramp(0.8f, 3.0f, gap));
            }
        }
        out[0] = light.x; out[1] = light.y; out[2] = light.z;
    }
}

static vec floor_at(const Scene *scene, const float *floor, float px, float py, float u, float w) {
    int size = scene->width / FLOOR_STEP + 2, i = (int)(px / FLOOR_STEP), j = (int)(py / FLOOR_STEP), is_wall = 0;
    float fx = px / FLOOR_STEP - i, fy = py / FLOOR_STEP - j, c[3];
    for (int k = 0; k < 3; k++) {
        const float *g = floor + 3 * ((size_t)j * size + i) + k;
        c[k] = lerp(lerp(g[0], g[3], fx), lerp(g[3 * size], g[3 * size + 3], fx), fy);
    }
    vec colour = backdrop(scene), light = v(c[0], c[1], c[2]);
    if (scene->table) {
        float a, b;
        colour = set_at(scene, eye_of(scene), ray_at(scene, px, py, &a, &b), &is_wall);
        if (is_wall) light = v(1, 1, 1);
    }
    return mul(prod(colour, light), 1 - scene->vignette * (u * u + w * w) * 0.5f);
}

/* The colour of one sample. With `ids` the light of the pixel around it is used again where it shows the same part. */
static vec colour_at(const Scene *scene, const float *floor, float px, float py, const float *light, const int *ids,
                     float *kept, int *id) {
    float u, w, t;
    vec eye = eye_of(scene), ray = ray_at(scene, px, py, &u, &w);
    if (!march(scene, eye, ray, 0, 160, &t)) { *id = 0; return floor_at(scene, floor, px, py, u, w); }
    vec p = add(eye, mul(ray, t));
    int nearest = 0;
    distance(scene, p, &nearest);
    *id = nearest + 1;
    const float *known = NULL;
    if (ids) {
        size_t at = (size_t)py * scene->width + (size_t)px;
        if (ids[at] == *id && fabsf(light[4 * at + 3] - t) < 0.012f) known = light + 4 * at;
    }
    if (kept) kept[3] = t;
    return shade(scene, p, ray, nearest, known, kept);
}

/* light: four floats for each pixel, the light on the surface and its distance. */
void first_pass(const Scene *scene, int row0, int row1, const float *floor, float *rgba, float *light, int *ids) {
    for (int y = row0; y < row1; y++) for (int x = 0; x < scene->width; x++) {
        size_t at = (size_t)y * scene->width + x;
        vec c = colour_at(scene, floor, x + 0.5f, y + 0.5f, NULL, NULL, light + 4 * at, ids + at);
        rgba[4 * at] = c.x; rgba[4 * at + 1] = c.y; rgba[4 * at + 2] = c.z; rgba[4 * at + 3] = ids[at] ? 1 : 0;
    }
}

static int is_edge(const Scene *scene, const float *rgba, const int *ids, int x, int y) {
    size_t at = (size_t)y * scene->width + x;
    for (int j = -1; j <= 1; j++) for (int i = -1; i <= 1; i++) {
        int xx = x + i, yy = y + j;
        if (xx < 0 || yy < 0 || xx >= scene->width || yy >= scene->height) continue;
        size_t to = (size_t)yy * scene->width + xx;
        if (ids[at] != ids[to]) return 1;
        if (!ids[at]) continue;
        for (int k = 0; k < 3; k++) {
            float a = fminf(rgba[4 * at + k], 1.2f), b = fminf(rgba[4 * to + k], 1.2f);
            if (fabsf(a - b) > scene->contrast * (0.12f + fmaxf(a, b))) return 1;
        }
    }
    return 0;
}

void refine_edges(const Scene *scene, int row0, int row1, const float *floor, const float *rgba, const float *light,
                  const int *ids, float *out) {
    static const float rooks[8][2] = {{0.06f, 0.56f}, {0.19f, 0.19f}, {0.31f, 0.81f}, {0.44f, 0.44f},
                                      {0.56f, 0.06f}, {0.69f, 0.94f}, {0.81f, 0.31f}, {0.94f, 0.69f}};
    for (int y = row0; y < row1; y++) for (int x = 0; x < scene->width; x++) {
        size_t at = (size_t)y * scene->width + x;
        for (int k = 0; k < 4; k++) out[4 * at + k] = rgba[4 * at + k];
        if (!is_edge(scene, rgba, ids, x, y)) continue;
        float sum[4] = {0, 0, 0, 0};
        for (int i = 0; i < scene->samples; i++) {
            int id, at_rook = i * 8 / scene->samples;
            vec c = colour_at(scene, floor, x + rooks[at_rook][0], y + rooks[at_rook][1], light, ids, NULL, &id);
            sum[0] += fminf(c.x, 1.6f); sum[1] += fminf(c.y, 1.6f); sum[2] += fminf(c.z, 1.6f); sum[3] += id ? 1 : 0;
        }
        for (int k = 0; k < 4; k++) out[4 * at + k] = sum[k] / scene->samples;
    }
}
