// EX: sum[lane] += weight[lane] * activation of the lane, a step a cycle. A step is issued, multiplied in the next cycle,
// added and written in the one after that. A lane whose activation is zero takes its cycle like all others, but neither
// its multiplier nor its sum moves; how many there were is counted.
module pe_execute #(
    parameter LANES = 16,
    parameter LANE_BITS = 4,
    parameter ACC = 32,
    parameter FORWARDING = 1,
    parameter TABLES = 1,
    parameter WORDS = 27
) (
    input  wire clk,
    input  wire reset,
    input  wire start,
    input  wire [127:0] word,
    input  wire swapped,
    output reg  busy,
    output wire done,
    input  wire [32*WORDS-1:0] slot,
    output wire [19:0] table_address,
    input  wire [32*LANES-1:0] table_word,
    input  wire weights_some,
    output wire weights_pop,
    input  wire [8*LANES-1:0] weights,
    output wire [11*LANES-1:0] read_rows,
    input  wire [8*LANES-1:0] read_0,
    input  wire [8*LANES-1:0] read_1,
    output wire [11*LANES-1:0] sum_rows,
    input  wire [ACC*LANES-1:0] sums,
    output wire [LANES-1:0] write,
    output wire [11*LANES-1:0] write_rows,
    output wire [ACC*LANES-1:0] written,
    output reg  [31:0] steps,
    output reg  [39:0] products,
    output reg  [39:0] silent,
    output reg  [31:0] empty
);
  localparam COLUMNS = WORDS - 3;
  wire [4:0] op = word[`PE_op];
  wire is_path = op == `PE_OP_PATH;
  wire is_table = TABLES && op == `PE_OP_TPATH;
  wire is_band = op == `PE_OP_BAND;
  wire [`PE_READ_BITS-1:0] read = is_path ? word[`PE_PATH_read] : is_table ? word[`PE_TPATH_read]
                                : is_band ? word[`PE_BAND_read] : word[`PE_DENSE_read];

  // What the instruction says, held while it runs.
  reg tabled, dense, band, lead, issuing, buffer, positive, rectify;
  reg [1:0] drain;
  reg [3:0] hold, sample, bits;
  reg [23:0] left, step;
  reg [19:0] table_row;
  reg [10:0] source, sum, source_stride, sum_stride, source_base, sum_base;
  reg [29:0] shift;
  reg [30*COLUMNS-1:0] columns;
  integer k;

  // Steps on their way: stage 1 multiplies, stage 2 adds, stage 3 is what was written in the cycle before.
  reg x1_valid, x1_first, x2_valid;
  reg [LANES-1:0] x1_lanes, x2_lanes, x2_forward;
  wire [LANES-1:0] still;
  reg [11*LANES-1:0] x1_sums, x2_sums;

  // BAND: the row that row 0 of this diagonal reads and the one that is read now, each with its bank: 0 that of the
  // lane, 1 the next one, 3 the one before. `band_sum` is the row that is added to.
  reg [11:0] band_rows;
  reg [10:0] band_first, band_row, band_sum;
  reg [1:0] first_side, side;
  wire signed [11:0] begin_diagonal = word[`PE_BAND_first];
  wire begin_before = begin_diagonal < 0;
  wire begin_next = !begin_before && begin_diagonal == word[`PE_BAND_rows];
  wire [10:0] begin_row = begin_before ? begin_diagonal + word[`PE_BAND_rows] : begin_next ? 11'd0 : begin_diagonal;
  wire [1:0] begin_side = begin_before ? 2'd3 : begin_next ? 2'd1 : 2'd0;
  wire last_row = band_sum + 1'b1 == band_rows;
  wire [10:0] this_row = last_row ? band_first : band_row;
  wire wraps = this_row + 1'b1 == band_rows;
  wire [10:0] next_row = wraps ? 11'd0 : this_row + 1'b1;
  wire [1:0] next_side = (last_row ? first_side : side) + wraps;

  // Where the step reads and adds.
  reg [29:0] made;
  always @* begin
    made = shift;
    for (k = 0; k < COLUMNS; k = k + 1) if (step[k]) made = made ^ columns[30*k+:30];
  end
  wire [10:0] row = source_base + (dense ? step >> bits : band ? band_row : made[10:0]);
  wire [10:0] one_sum = sum_base + (dense ? 11'd0 : band ? band_sum : made[21:11]);
  wire [23:0] low_bits = step & ~({24{1'b1}} << bits);
  wire [LANE_BITS-1:0] constant = dense ? low_bits[LANE_BITS-1:0] : band ? {LANE_BITS{1'b0}} : made[22+:LANE_BITS];
  wire [LANES-1:0] lanes, same;
  wire [11*LANES-1:0] own_sum;

  wire late = !FORWARDING && x1_valid && (same & lanes & x1_lanes) != 0;
  wire issue = issuing && !lead && (sample != 0 || weights_some) && !late;
  wire next_step = issue && sample + 1'b1 == hold;
  wire last = next_step && left == 1 && (!band || last_row);
  assign weights_pop = issue && sample == 0;
  assign table_address = table_row + next_step;
  assign done = drain[1];

  // Stage 1: activations are there, lanes are exchanged, products made. Stage 2: sums are there.
  reg [LANE_BITS-1:0] x1_constant;
  reg [1:0] x1_side;
  reg [LANE_BITS*LANES-1:0] x1_banks;
  reg [8*LANES-1:0] held;
  reg [14*LANES-1:0] x2_low;
  reg [13*LANES-1:0] x2_high;
  reg [ACC*LANES-1:0] x3_written;
  wire [8*LANES-1:0] banks = buffer ? read_1 : read_0;
  wire [8*LANES-1:0] exchanged;
  wire [8*LANES-1:0] row_of_weights = x1_first ? weights : held;
  assign sum_rows = x1_sums;
  assign write = x2_valid ? x2_lanes : {LANES{1'b0}};
  assign write_rows = x2_sums;
  pe_permuter #(LANE_BITS, 8) permuter (x1_constant, banks, exchanged);

  genvar m;
  generate
    for (m = 0; m < LANES; m = m + 1) begin : lane
      wire [31:0] entry = table_word[32*m+:32];
      wire [10:0] tabled_row = source_base + entry[10:0];
      wire [10:0] tabled_sum = sum_base + entry[21:11];
      assign read_rows[11*m+:11] = tabled ? tabled_row : row;
      assign own_sum[11*m+:11] = tabled ? tabled_sum : one_sum;
      assign lanes[m] = !tabled || entry[30];
      assign same[m] = own_sum[11*m+:11] == x1_sums[11*m+:11];

      wire [LANE_BITS-1:0] bank = x1_banks[LANE_BITS*m+:LANE_BITS];
      wire [7:0] beside = x1_side[1] ? exchanged[8*((m+LANES-1)%LANES)+:8] : exchanged[8*((m+1)%LANES)+:8];
      wire [7:0] raw = tabled ? banks[8*bank+:8] : x1_side[0] ? beside : exchanged[8*m+:8];
      wire signed [8:0] value = positive ? {1'b0, raw} : rectify && raw[7] ? 9'd0 : {raw[7], raw};
      assign still[m] = value == 0;
      wire signed [7:0] weight = row_of_weights[8*m+:8];
      // Products by halves of the weight, put together where the sum is added to: the multiplier is the longest path.
      wire signed [4:0] weight_low = {1'b0, weight[3:0]};
      wire signed [3:0] weight_high = weight[7:4];
      wire signed [13:0] low = value * weight_low;
      wire signed [12:0] high = value * weight_high;
      wire signed [ACC-1:0] added_low = {{ACC - 14{x2_low[14*m+13]}}, x2_low[14*m+:14]};
      wire signed [ACC-1:0] added_high = {{ACC - 17{x2_high[13*m+12]}}, x2_high[13*m+:13], 4'd0};
      wire [ACC-1:0] old = x2_forward[m] ? x3_written[ACC*m+:ACC] : sums[ACC*m+:ACC];
      assign written[ACC*m+:ACC] = old + added_low + added_high;
      always @(posedge clk) begin
        x1_banks[LANE_BITS*m+:LANE_BITS] <= entry[22+:LANE_BITS];
        if (!still[m]) begin
          x2_low[14*m+:14] <= low;
          x2_high[13*m+:13] <= high;
        end
        x2_forward[m] <= FORWARDING && x2_valid && x2_lanes[m] && x1_sums[11*m+:11] == x2_sums[11*m+:11];
      end
    end
  endgenerate

  reg [LANE_BITS:0] adding, resting;
  always @* begin
    adding = 0;
    resting = 0;
    for (k = 0; k < LANES; k = k + 1) begin
      adding = adding + x1_lanes[k];
      resting = resting + (x1_lanes[k] && still[k]);
    end
  end
  always @(posedge clk) begin
    steps <= reset ? 0 : steps + x1_valid;
    products <= reset ? 0 : x1_valid ? products + adding : products;
    silent <= reset ? 0 : x1_valid ? silent + resting : silent;
    empty <= reset ? 0 : empty + (x1_valid && adding == resting);
  end

  always @(posedge clk) begin
    x1_valid <= issue && !reset;
    x1_first <= weights_pop;
    x1_lanes <= lanes;
    x1_sums <= own_sum;
    x1_constant <= constant;
    x1_side <= band ? side : 2'd0;
    if (x1_first) held <= weights;
    x2_valid <= x1_valid && !reset;
    x2_lanes <= x1_lanes & ~still;
    x2_sums <= x1_sums;
    x3_written <= written;
    if (start) begin
      tabled <= is_table;
      dense <= !is_path && !is_table && !is_band;
      band <= is_band;
      lead <= is_table;
      buffer <= read[`PE_READ_buffer] ^ swapped;
      positive <= read[`PE_READ_unsigned];
      rectify <= read[`PE_READ_rectify];
      hold <= read[`PE_READ_hold];
      bits <= word[`PE_DENSE_bits];
      left <= is_path ? word[`PE_PATH_steps] : is_table ? word[`PE_TPATH_steps] : is_band ? word[`PE_BAND_diagonals]
            : {12'd0, word[`PE_DENSE_rows]} << word[`PE_DENSE_bits];
      step <= is_path ? word[`PE_PATH_start] : 24'd0;
      table_row <= word[`PE_TPATH_table];
      source <= read[`PE_READ_source];
      source_base <= read[`PE_READ_source];
      sum <= read[`PE_READ_sum];
      sum_base <= read[`PE_READ_sum];
      source_stride <= read[`PE_READ_source_stride];
      sum_stride <= read[`PE_READ_sum_stride];
      band_rows <= word[`PE_BAND_rows];
      band_first <= begin_row;
      band_row <= begin_row;
      band_sum <= 0;
      first_side <= begin_side;
      side <= begin_side;
      sample <= 0;
      shift <= slot[29:0];
      for (k = 0; k < COLUMNS; k = k + 1) columns[30*k+:30] <= slot[32*(3+k)+:30];
    end else begin
      lead <= 0;
      table_row <= table_address;
      if (next_step) begin
        step <= step + 1'b1;
        left <= left - (!band || last_row);
        band_row <= next_row;
        side <= next_side;
        band_sum <= last_row ? 11'd0 : band_sum + 1'b1;
        if (last_row) begin
          band_first <= next_row;
          first_side <= next_side;
        end
        sample <= 0;
        source_base <= source;
        sum_base <= sum;
      end else if (issue) begin
        sample <= sample + 1'b1;
        source_base <= source_base + source_stride;
        sum_base <= sum_base + sum_stride;
      end
    end
    issuing <= !reset && (start || (issuing && !last));
    drain <= reset ? 2'd0 : {drain[0], last};
    busy <= !reset && (start || (busy && !done));
  end
endmodule
