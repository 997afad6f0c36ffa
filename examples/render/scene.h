typedef struct {
    int type;           /* 0: turned on the lathe around the y axis, 1: tube bent in the x-y plane */
    int nx, ny;         /* cells of the grids below, row y holds nx values */
    float x0, y0, inv;  /* corner of the grid and cells per unit */
    const float *dist;  /* lathe: signed distance to the surface; tube: distance to the centre line in the plane */
    const float *aux;   /* lathe: signed distance to the wall's centre line, positive outside; tube: radius */
    const float *along; /* lathe: 0 at the foot, 1 at the rim, -1 off the wall */
    int solid;          /* lathe: filled outline instead of a wall */
    int material, inner;
    float blend;        /* radius of the fillet to the parts before it */
    int clip;           /* 1: nothing of it may reach inside part 0 */
    float flatten;      /* tube: half depth in z over half width in the plane */
    float shell;        /* tube: wall thickness, 0 is solid */
    float cut_x, cut_y, cut_nx, cut_ny; /* tube: what lies beyond this plane is cut off; normal 0 cuts nothing */
    float ball[4];      /* centre and radius around it */
    int flutes;         /* vertical ribs on the lathe */
    float flute_depth, flute_lo, flute_hi;
} Part;

typedef struct {
    int look;           /* 0 glaze, 1 raw clay, 2 metal, 3 cloth, 4 wood, 5 cork */
    float r, g, b;      /* linear reflectance */
    float gloss;        /* 0 matt … 1 wet */
    float speckle;      /* share of the surface with iron specks */
    float dip;          /* below this height the clay is bare; 0 is none */
    float clay_r, clay_g, clay_b;
    float rim;          /* 0 … 1: how far the glaze breaks to clay colour at the rim */
    float mottle;       /* 0 … 1: uneven glaze */
    float ridges;       /* marks of the potter's fingers */
    float over_r, over_g, over_b, over; /* second glaze, from this height up; 0 is none */
    float glow;         /* cloth: light from inside */
} Material;

typedef struct {
    int width, height, part_count;
    const Part *parts;
    const Material *materials;
    float eye[3], right[3], up[3], forward[3];
    float tangent;      /* of half the field of view */
    float shift_x, shift_y;
    float box[6];       /* of everything: x0 y0 z0 x1 y1 z1 */
    float ball[4];      /* centre and radius around everything */
    float backdrop[3];  /* linear; of a table, its mean colour */
    int table;          /* 0: a seamless backdrop; 1: planks, 2: marble, 3: plain, each with a wall behind */
    float wall[3];      /* linear */
    float back[3];      /* horizontal unit vector from the camera to the wall */
    float wall_at;      /* how far behind the product the wall stands */
    float panes;        /* 0 … 1: sunlight through a window falls on table and wall */
    float grain;        /* where in the noise this table is cut from */
    float vignette;
    float key[3];       /* unit vector to the main light */
    float key_size;     /* half width of the softbox at distance 1 */
    float key_share;    /* its part of the light on an open floor */
    float exposure;
    int cones;          /* directions that soft light is gathered from, at most 40 */
    int spots;          /* of the main light, at most 7 */
    int samples;        /* for each pixel on an edge, at most 8 */
    float contrast;     /* from which two neighbours of one part are an edge */
    float open_light;   /* open_floor() of this scene */
} Scene;

void build_grid(float *dist, float *aux, float *along, int nx, int ny, float x0, float y0, float step,
                const float *points, const int *starts, int strokes, int solid);
float open_floor(const Scene *scene);
void floor_pass(const Scene *scene, int row0, int row1, float *floor);
void first_pass(const Scene *scene, int row0, int row1, const float *floor, float *rgba, float *light, int *ids);
void refine_edges(const Scene *scene, int row0, int row1, const float *floor, const float *rgba, const float *light,
                  const int *ids, float *out);
