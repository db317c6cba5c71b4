declare function load(): unknown;
export = load;
