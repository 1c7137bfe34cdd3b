// A board for simulators: the memories around the engine, filled from files of the folder it runs in. When the engine
// halts, the outputs are written and the number of cycles is printed.
module pe_board (
    input wire clk,
    input wire reset
);
  localparam LANES = `PE_LANES;
  reg [127:0] code[0:`PE_BOARD_CODE-1];
  reg [31:0] settings[0:`PE_BOARD_CONFIG-1];
  reg [128*LANES-1:0] parameters[0:`PE_BOARD_PARAMETERS-1];
  reg [7:0] curves[0:4095];
  reg [32*LANES-1:0] tables[0:`PE_BOARD_TABLES-1];
  reg [8*LANES-1:0] inputs[0:`PE_BOARD_INPUTS-1];
  reg [7:0] weights[0:`PE_BOARD_WEIGHTS-1];
  reg [32*LANES-1:0] outputs[0:`PE_BOARD_OUTPUTS-1];

  wire [15:0] code_address;
  wire [11:0] config_address, parameter_address;
  wire [12*LANES-1:0] curve_address;
  wire [19:0] table_address;
  wire [39:0] input_address, output_address;
  wire [31:0] weight_address, cycles, steps, empty;
  wire [39:0] products, silent;
  wire output_write, halted;
  wire [32*LANES-1:0] output_row;
  reg [127:0] code_word;
  reg [31:0] config_word;
  reg [128*LANES-1:0] parameter_word;
  reg [32*LANES-1:0] table_word;
  reg [8*LANES-1:0] input_row, weight_row, curve_word;
  pe_engine engine (
      clk, reset, code_address, code_word, config_address, config_word, parameter_address, parameter_word, curve_address,
      curve_word, table_address, table_word, input_address, input_row, weight_address, weight_row, output_write, output_address, output_row, steps,
      products, silent, empty, halted, cycles
  );

  integer codes, words, rows, curve_bytes, table_rows, input_rows, bytes, output_rows, limit, k;
  initial begin
    if (!$value$plusargs("code=%d", codes)) codes = 0;
    if (!$value$plusargs("config=%d", words)) words = 0;
    if (!$value$plusargs("parameters=%d", rows)) rows = 0;
    if (!$value$plusargs("curves=%d", curve_bytes)) curve_bytes = 0;
    if (!$value$plusargs("tables=%d", table_rows)) table_rows = 0;
    if (!$value$plusargs("inputs=%d", input_rows)) input_rows = 0;
    if (!$value$plusargs("weights=%d", bytes)) bytes = 0;
    if (!$value$plusargs("outputs=%d", output_rows)) output_rows = 0;
    if (!$value$plusargs("limit=%d", limit)) limit = 0;
    if (codes > 0) $readmemh("code.hex", code, 0, codes - 1);
    if (words > 0) $readmemh("config.hex", settings, 0, words - 1);
    if (rows > 0) $readmemh("parameters.hex", parameters, 0, rows - 1);
    if (curve_bytes > 0) $readmemh("curves.hex", curves, 0, curve_bytes - 1);
    if (table_rows > 0) $readmemh("tables.hex", tables, 0, table_rows - 1);
    if (input_rows > 0) $readmemh("inputs.hex", inputs, 0, input_rows - 1);
    if (bytes > 0) $readmemh("weights.hex", weights, 0, bytes - 1);
    for (k = 0; k < output_rows; k = k + 1) outputs[k] = 0;
  end

  always @(posedge clk) begin
    code_word <= code[code_address];
    config_word <= settings[config_address];
    parameter_word <= parameters[parameter_address];
    table_word <= tables[table_address];
    input_row <= inputs[input_address[31:0]];
    for (k = 0; k < LANES; k = k + 1) curve_word[8*k+:8] <= curves[curve_address[12*k+:12]];
    for (k = 0; k < LANES; k = k + 1) weight_row[8*k+:8] <= weights[weight_address+k];
    if (output_write) outputs[output_address[31:0]] <= output_row;
    if (!reset && (halted || cycles > limit)) begin
      if (output_rows > 0) $writememh("outputs.hex", outputs, 0, output_rows - 1);
      if (halted) begin
        $display("cycles %0d", cycles);
        $display("activity %0d %0d %0d %0d", steps, products, silent, empty);
      end
      $finish;
    end
  end
endmodule
