// LD: rows of activations from outside. A row that is asked for in one cycle is there in the next.
module pe_load #(
    parameter LANES = 16,
    parameter INTERVAL = 1,
    parameter LATENCY = 4
) (
    input  wire clk,
    input  wire reset,
    input  wire start,
    input  wire [127:0] word,
    input  wire [15:0] round,
    input  wire swapped,
    output reg  busy,
    output wire done,
    output wire [39:0] address,
    output wire write,
    output reg  buffer,
    output reg  [10:0] row
);
  reg [39:0] outside;
  reg [11:0] left;
  reg [31:0] pause;
  wire [39:0] begin_outside = word[`PE_LDA_address] + round * word[`PE_LDA_stride];
  assign write = busy && pause == 0;
  assign done = write && left == 1;
  assign address = start ? begin_outside : write ? outside + 1'b1 : outside;
  always @(posedge clk) begin
    outside <= address;
    if (start) begin
      buffer <= word[`PE_LDA_buffer] ^ swapped;
      row <= word[`PE_LDA_row];
      left <= word[`PE_LDA_rows];
      pause <= LATENCY + INTERVAL - 1;
    end else if (write) begin
      row <= row + 1'b1;
      left <= left - 1'b1;
      pause <= INTERVAL - 1;
    end else pause <= pause - 1'b1;
    busy <= !reset && (start || (busy && !done));
  end
endmodule

// ST: rows of activations, or of sums, to the outside.
module pe_store #(
    parameter LANES = 16,
    parameter INTERVAL = 1,
    parameter LATENCY = 4
) (
    input  wire clk,
    input  wire reset,
    input  wire start,
    input  wire [127:0] word,
    input  wire [15:0] round,
    input  wire swapped,
    output reg  busy,
    output wire done,
    output wire [10:0] row,
    output reg  buffer,
    output reg  wide,
    output wire write,
    output reg  [39:0] address
);
  reg [10:0] at;
  reg [11:0] left;
  reg [31:0] pause, tail;
  wire [31:0] begin_pause = word[`PE_STA_wide] ? 4 * INTERVAL - 1 : INTERVAL - 1;
  wire [31:0] next_pause = wide ? 4 * INTERVAL - 1 : INTERVAL - 1;
  assign write = busy && left != 0 && pause == 0;
  assign done = busy && (LATENCY == 0 ? write && left == 1 : left == 0 && tail == 1);
  assign row = start ? word[`PE_STA_row] : write ? at + 1'b1 : at;
  always @(posedge clk) begin
    at <= row;
    if (start) begin
      address <= word[`PE_STA_address] + round * word[`PE_STA_stride];
      buffer <= word[`PE_STA_buffer] ^ swapped;
      wide <= word[`PE_STA_wide];
      left <= word[`PE_STA_rows];
      pause <= begin_pause;
      tail <= LATENCY;
    end else if (write) begin
      address <= address + 1'b1;
      left <= left - 1'b1;
      pause <= next_pause;
    end else begin
      pause <= pause - 1'b1;
      if (left == 0) tail <= tail - 1'b1;
    end
    busy <= !reset && (start || (busy && !done));
  end
endmodule

// WS: rows of weights from outside into the FIFO, widened to a byte a lane.
module pe_stream #(
    parameter LANES = 16,
    parameter INTERVAL_0 = 1,
    parameter INTERVAL_1 = 1,
    parameter INTERVAL_2 = 1,
    parameter LATENCY = 4
) (
    input  wire clk,
    input  wire reset,
    input  wire start,
    input  wire [127:0] word,
    output reg  busy,
    output wire done,
    output wire [31:0] address,
    input  wire [8*LANES-1:0] packed_row,
    input  wire full,
    output wire push,
    output wire [8*LANES-1:0] row
);
  reg [31:0] outside;
  reg [23:0] left;
  reg [31:0] pause;
  reg [1:0] format;
  wire [1:0] begin_format = word[`PE_LDW_format];
  assign push = busy && pause == 0 && !full;
  assign done = push && left == 1;
  assign address = start ? word[`PE_LDW_address] : push ? outside + (LANES >> format) : outside;
  always @(posedge clk) begin
    outside <= address;
    if (start) begin
      format <= begin_format;
      left <= word[`PE_LDW_rows];
      pause <= (begin_format == 0 ? INTERVAL_0 : begin_format == 1 ? INTERVAL_1 : INTERVAL_2) + LATENCY - 1;
    end else if (push) begin
      left <= left - 1'b1;
      pause <= (format == 0 ? INTERVAL_0 : format == 1 ? INTERVAL_1 : INTERVAL_2) - 1;
    end else if (pause != 0) pause <= pause - 1'b1;
    busy <= !reset && (start || (busy && !done));
  end
  genvar m;
  generate
    for (m = 0; m < LANES; m = m + 1) begin : lane
      wire [7:0] i8 = packed_row[8*m+:8];
      wire [3:0] i4 = packed_row[4*m+:4];
      wire [1:0] t2 = packed_row[2*m+:2];
      assign row[8*m+:8] = format == 0 ? i8 : format == 1 ? {{4{i4[3]}}, i4} : {{6{t2[1]}}, t2};
    end
  endgenerate
endmodule

// Rows of weights between streamer and lanes: what is taken in one cycle is there in the next.
module pe_fifo #(
    parameter DEPTH = 16,
    parameter COUNT_BITS = 5,
    parameter WIDTH = 128
) (
    input  wire clk,
    input  wire reset,
    input  wire push,
    input  wire [WIDTH-1:0] in,
    input  wire pop,
    output reg  [WIDTH-1:0] out,
    output wire some,
    output wire full
);
  localparam [COUNT_BITS-1:0] LAST = DEPTH - 1;
  localparam [COUNT_BITS-1:0] ALL = DEPTH;
  reg [WIDTH-1:0] rows[0:DEPTH-1];
  reg [COUNT_BITS-1:0] count, first, free;
  assign some = count != 0;
  assign full = count == ALL;
  always @(posedge clk) begin
    if (push) rows[free] <= in;
    out <= rows[first];
    if (reset) begin
      count <= 0;
      first <= 0;
      free <= 0;
    end else begin
      count <= count + push - pop;
      if (push) free <= free == LAST ? 0 : free + 1'b1;
      if (pop) first <= first == LAST ? 0 : first + 1'b1;
    end
  end
endmodule
