// What one lane owns: a byte of every activation row, twice, and a sum of every accumulator row. An address given in
// one cycle answers in the next, with what was written before.
module pe_bank #(
    parameter ROWS = 1024,
    parameter ROW_BITS = 10,
    parameter SUMS = 1024,
    parameter SUM_BITS = 10,
    parameter ACC = 32
) (
    input  wire clk,
    input  wire [1:0] write,
    input  wire [10:0] write_row_0,
    input  wire [10:0] write_row_1,
    input  wire [7:0] data_0,
    input  wire [7:0] data_1,
    input  wire [10:0] read_row,
    output reg  [7:0] read_0,
    output reg  [7:0] read_1,
    input  wire [10:0] store_row,
    output reg  [7:0] store_0,
    output reg  [7:0] store_1,
    output reg  [ACC-1:0] store_sum,
    input  wire [10:0] execute_row,
    output reg  [ACC-1:0] execute_sum,
    input  wire execute_write,
    input  wire [10:0] execute_write_row,
    input  wire [ACC-1:0] execute_data,
    input  wire [10:0] activate_row,
    output reg  [ACC-1:0] activate_sum,
    input  wire activate_write,
    input  wire [10:0] activate_write_row,
    input  wire [ACC-1:0] activate_data
);
  reg [7:0] rows_0[0:ROWS-1];
  reg [7:0] rows_1[0:ROWS-1];
  reg [ACC-1:0] sums[0:SUMS-1];
  integer k;
  initial begin
    for (k = 0; k < ROWS; k = k + 1) begin
      rows_0[k] = 0;
      rows_1[k] = 0;
    end
    for (k = 0; k < SUMS; k = k + 1) sums[k] = 0;
  end
  always @(posedge clk) begin
    if (write[0]) rows_0[write_row_0[ROW_BITS-1:0]] <= data_0;
    if (write[1]) rows_1[write_row_1[ROW_BITS-1:0]] <= data_1;
    read_0 <= rows_0[read_row[ROW_BITS-1:0]];
    read_1 <= rows_1[read_row[ROW_BITS-1:0]];
    store_0 <= rows_0[store_row[ROW_BITS-1:0]];
    store_1 <= rows_1[store_row[ROW_BITS-1:0]];
    if (execute_write) sums[execute_write_row[SUM_BITS-1:0]] <= execute_data;
    if (activate_write) sums[activate_write_row[SUM_BITS-1:0]] <= activate_data;
    execute_sum <= sums[execute_row[SUM_BITS-1:0]];
    activate_sum <= sums[activate_row[SUM_BITS-1:0]];
    store_sum <= sums[store_row[SUM_BITS-1:0]];
  end
endmodule
