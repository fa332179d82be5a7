#!/usr/bin/env python3
"""Makes tests/data/sklearn: models as skl2onnx writes them.

    python3 -m venv /tmp/sklearn && . /tmp/sklearn/bin/activate
    pip install scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 \
        pandas==3.1.1
    python3 tests/models/make_sklearn.py [CASE ...]

Each case is a function of its own that returns a fitted estimator and options for to_onnx(); its
docstring says what it is about. The rows have five columns, whose sums and signs make the targets.
"""

import dataclasses
import functools
import os
import sys
import warnings

import numpy
import onnx
import pandas
from onnx import helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (ElasticNet, LinearRegression, LogisticRegression, Perceptron,
                                  PoissonRegressor, Ridge, RidgeClassifier, SGDClassifier)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (Binarizer, FunctionTransformer, MaxAbsScaler, MinMaxScaler,
                                   Normalizer, RobustScaler, StandardScaler)
from sklearn.svm import LinearSVC, LinearSVR

import fixtures

TITLE = "scikit-learn models as skl2onnx writes them"
PACKAGES = ["scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "pandas"]
COLUMNS = 5
TRAINING_ROWS = 300
ROWS = 15
NO_ZIPMAP = {"zipmap": False}
CASES = []


@dataclasses.dataclass
class Case:
    function: object
    opset: int = None      # None: skl2onnx's own
    zipmap: bool = True    # False: to_onnx() is told to leave ZipMap out
    missing: bool = False  # NaN in the rows
    same: bool = True      # onnxruntime agrees with scikit-learn


def case(**settings):
    """The function below is a case, with these settings of class Case."""
    def register(function):
        CASES.append(Case(function, **settings))
        return function
    return register


def rows_of(generator, count, missing=False):
    rows = generator.normal(0.3, 1.5, (count, COLUMNS)).astype(numpy.float32)
    if missing:
        rows[generator.uniform(size=rows.shape) < 0.15] = numpy.nan
    return rows


class Data:
    """Training rows and targets of each kind."""

    def __init__(self, generator, missing):
        self.rows = rows_of(generator, TRAINING_ROWS, missing)
        known = numpy.nan_to_num(self.rows)
        self.number = known[:, 0] * known[:, 1] + known.sum(axis=1)
        self.numbers = numpy.stack([self.number, known[:, 2] - known[:, 3]], axis=1)
        self.yes = (self.number > 0).astype(numpy.int64)
        self.classes = numpy.digitize(self.number, [-2, 1.5]) * 2 - 1  # -1, 1, 3
        self.words = numpy.array(["low", "fair", "great"])[(self.classes + 1) // 2]


# ---- linear classifiers --------------------------------------------------------------------


def scaled_logistic(data, target):
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(data.rows, target)


@case()
def logistic_binary_zipmap(data):
    """Scaler and LinearClassifier as they come: the scores are a sequence of maps."""
    return scaled_logistic(data, data.yes)


@case(zipmap=False)
def logistic_binary(data):
    """The same with a plain tensor of scores."""
    return scaled_logistic(data, data.yes)


@case()
def logistic_zipmap(data):
    """Three classes whose labels are -1, 1, 3."""
    return scaled_logistic(data, data.classes)


@case(zipmap=False)
def logistic_words(data):
    """Three classes whose labels are texts."""
    return scaled_logistic(data, data.words)


@case()
def logistic_words_zipmap(data):
    """Labels that are texts, and ZipMap."""
    return scaled_logistic(data, data.words)


@case(zipmap=False)
def logistic_binary_words(data):
    """Two classes whose labels are texts."""
    return scaled_logistic(data, numpy.where(data.yes, "yes", "no"))


@case(zipmap=False)
def logistic_one_vs_rest(data):
    """One logistic regression for each class, normalised to a sum of 1."""
    return OneVsRestClassifier(LogisticRegression()).fit(data.rows, data.classes)


@case()
def linear_svc(data):
    """LinearSVC has scores that are no probabilities."""
    return LinearSVC(random_state=0).fit(data.rows, data.classes)


@case()
def linear_svc_binary(data):
    """LinearSVC with two classes."""
    return LinearSVC(random_state=0).fit(data.rows, data.yes)


@case(zipmap=False)
def sgd_log_loss(data):
    """SGDClassifier with probabilities."""
    return make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)
                         ).fit(data.rows, data.classes)


@case(zipmap=False)
def sgd_hinge(data):
    """SGDClassifier as it comes: a linear SVM, two classes."""
    return make_pipeline(StandardScaler(), SGDClassifier(random_state=0)).fit(data.rows, data.yes)


@case(zipmap=False)
def perceptron(data):
    """Perceptron, labels that are texts."""
    return Perceptron(random_state=0).fit(data.rows, data.words)


@case(zipmap=False)
def ridge_classifier(data):
    """RidgeClassifier."""
    return RidgeClassifier().fit(data.rows, data.classes)


@case(zipmap=False)
def discriminant(data):
    """Linear discriminant analysis."""
    return LinearDiscriminantAnalysis().fit(data.rows, data.classes)


# ---- networks ------------------------------------------------------------------------------


def network(kind, **settings):
    return kind(hidden_layer_sizes=(8, 6), max_iter=60, tol=0.1, random_state=1, **settings)


@case()
def mlp_classifier_zipmap(data):
    """MLPClassifier: MatMul, Add, Relu, Softmax, ArgMax, ArrayFeatureExtractor, ZipMap."""
    return make_pipeline(StandardScaler(), network(MLPClassifier)).fit(data.rows, data.classes)


@case(zipmap=False)
def mlp_classifier_binary(data):
    """One logistic output becomes two columns."""
    return network(MLPClassifier, activation="tanh").fit(data.rows, data.yes)


@case(zipmap=False)
def mlp_classifier_words(data):
    """Labels that are texts come out of ArrayFeatureExtractor."""
    return network(MLPClassifier, activation="logistic").fit(data.rows, data.words)


@case(opset=12)
def mlp_regressor(data):
    """MLPRegressor, opset 12."""
    return network(MLPRegressor).fit(data.rows, data.number)


# ---- regressors ----------------------------------------------------------------------------


@case()
def linear_regression(data):
    """LinearRegressor of ai.onnx.ml."""
    return LinearRegression().fit(data.rows, data.number)


@case(opset=9)
def linear_regression_9(data):
    """The same for opset 9, two targets."""
    return LinearRegression().fit(data.rows, data.numbers)


@case()
def ridge(data):
    """Two scalers in a row, Ridge, two targets."""
    return make_pipeline(MaxAbsScaler(), RobustScaler(), Ridge()).fit(data.rows, data.numbers)


@case()
def elastic_net_without_intercept(data):
    """ElasticNet without an intercept."""
    return ElasticNet(fit_intercept=False).fit(data.rows, data.number)


@case()
def linear_svr(data):
    """LinearSVR."""
    return LinearSVR(random_state=0).fit(data.rows, data.number)


@case()
def poisson(data):
    """PoissonRegressor: exp of a linear function."""
    return PoissonRegressor().fit(data.rows, data.yes)


@case()
def multi_output(data):
    """MultiOutputRegressor: one regressor for each target, side by side."""
    return MultiOutputRegressor(Ridge()).fit(data.rows, data.numbers)


# ---- transformers --------------------------------------------------------------------------


@case()
def min_max_clipped(data):
    """MinMaxScaler that clips to its range."""
    return make_pipeline(MinMaxScaler((-1, 1), clip=True), Ridge()).fit(data.rows, data.number)


@case()
def standard_without_mean(data):
    """StandardScaler that only divides."""
    return StandardScaler(with_mean=False).fit(data.rows)


@case()
def normalizer_l1(data):
    """Normalizer of ai.onnx.ml, L1."""
    return make_pipeline(Normalizer("l1"), Ridge()).fit(data.rows, data.number)


@case()
def normalizer_l2(data):
    """Normalizer, L2, behind a scaler."""
    return make_pipeline(StandardScaler(), Normalizer("l2")).fit(data.rows)


@case(same=False)
def normalizer_max(data):
    """Normalizer, MAX: in onnxruntime the largest number, in scikit-learn the largest magnitude."""
    return Normalizer("max").fit(data.rows)


@case(missing=True)
def imputer(data):
    """SimpleImputer puts the mean where NaN is."""
    return make_pipeline(SimpleImputer(), StandardScaler(), Ridge()).fit(data.rows, data.number)


@case(missing=True)
def imputer_constant(data):
    """SimpleImputer with one number for all columns, a classifier behind it."""
    return make_pipeline(SimpleImputer(strategy="constant", fill_value=-3.0), StandardScaler(),
                         LogisticRegression()).fit(data.rows, data.classes)


@case()
def binarizer(data):
    """Binarizer with a threshold."""
    return make_pipeline(Binarizer(threshold=0.4), LinearRegression()).fit(data.rows, data.number)


@case(zipmap=False)
def pca(data):
    """PCA (Sub, MatMul) between a scaler and a classifier."""
    return make_pipeline(StandardScaler(), PCA(3), LogisticRegression()).fit(data.rows, data.yes)


@case()
def pca_whitened(data):
    """PCA that whitens, as the last step."""
    return PCA(2, whiten=True).fit(data.rows)


@case()
def truncated_svd(data):
    """TruncatedSVD: a bare matrix."""
    return TruncatedSVD(2, random_state=0).fit(data.rows)


@case()
def selected_columns(data):
    """SelectKBest: ArrayFeatureExtractor picks columns."""
    return make_pipeline(SelectKBest(k=3), Ridge()).fit(data.rows, data.yes)


@case()
def union(data):
    """Two transformers side by side."""
    return make_pipeline(make_union(StandardScaler(), PCA(2)), Ridge()).fit(data.rows, data.number)


@case()
def column_transformer(data):
    """ColumnTransformer: each group of columns has its own scaler, the rest passes through."""
    columns = ColumnTransformer([("standard", StandardScaler(), [3, 0]),
                                 ("range", MinMaxScaler(), [2]),
                                 ("log", FunctionTransformer(), [1])], remainder="drop")
    return make_pipeline(columns, LogisticRegression()).fit(data.rows, data.classes)


# ---- what needs more than an estimator -----------------------------------------------------


def one_input_for_each_column(generator):
    """A data frame's habit: the model has one input (n, 1) for each column."""
    data = Data(generator, missing=False)
    estimator = scaled_logistic(data, data.classes)
    names = [f"feature_{i}" for i in range(COLUMNS)]
    # to_onnx sees a pipeline of arrays; the columns are put side by side in front of it.
    columns = ColumnTransformer([("all", "passthrough", names)])
    frame = {name: data.rows[:, i] for i, name in enumerate(names)}
    columns.fit(pandas.DataFrame(frame))
    pipeline = make_pipeline(columns, *(step for _, step in estimator.steps))
    model = to_onnx(pipeline, initial_types=[(n, FloatTensorType([None, 1])) for n in names],
                    options={id(estimator.steps[-1][1]): NO_ZIPMAP})
    rows = rows_of(generator, ROWS)
    return (model, {name: rows[:, i:i + 1] for i, name in enumerate(names)},
            [estimator.predict(rows), estimator.predict_proba(rows)])


def relabelled(generator):
    """LabelEncoder behind the classes turns them into other numbers; the old label is no output."""
    data = Data(generator, missing=False)
    estimator = scaled_logistic(data, data.classes)
    model = to_onnx(estimator, data.rows[:1], options={id(estimator): NO_ZIPMAP})
    label = model.graph.output[0].name
    for imported in model.opset_import:
        if imported.domain == "ai.onnx.ml":
            imported.version = 3  # LabelEncoder has typed attributes from 2
    model.graph.node.append(helper.make_node(
        "LabelEncoder", [label], ["price"], domain="ai.onnx.ml", name="relabel",
        keys_int64s=[-1, 1, 3], values_floats=[9.5, 19.0, 99.0], default_float=0.0))
    del model.graph.output[0]
    model.graph.output.append(helper.make_tensor_value_info("price", onnx.TensorProto.FLOAT,
                                                            [None]))
    rows = rows_of(generator, ROWS)
    prices = numpy.array([{-1: 9.5, 1: 19.0, 3: 99.0}[c] for c in estimator.predict(rows)])
    return model, {"X": rows}, [estimator.predict_proba(rows), prices]


# ---- export --------------------------------------------------------------------------------


def framework_answers(estimator, rows):
    """What the model's outputs are: the classes and their scores, numbers, or other columns."""
    if not hasattr(estimator, "predict"):
        return [estimator.transform(rows)]
    if not is_classifier(estimator):
        return [estimator.predict(rows)]
    scores = (estimator.predict_proba(rows) if hasattr(estimator, "predict_proba")
              else estimator.decision_function(rows))
    # Of two classes decision_function() has one column, the model two.
    return [estimator.predict(rows), scores if scores.ndim == 2 else None]


def convert(case, generator):
    data = Data(generator, case.missing)
    estimator = case.function(data)
    options = {} if case.zipmap else {id(estimator): NO_ZIPMAP}
    model = to_onnx(estimator, data.rows[:1], options=options, target_opset=case.opset)
    rows = rows_of(generator, ROWS, case.missing)
    expected = framework_answers(estimator, rows) if case.same else [None]
    return model, {"X": rows}, expected, getattr(estimator, "classes_", None)


def save(name, about, model, feeds, expected, classes=None):
    folder = fixtures.empty_folder("sklearn", name)
    onnx.save(model, folder / "model.onnx")
    return fixtures.finish(folder, about, feeds, expected, classes)


def fix_hash_order():
    """Starts the script again, with the hashes of texts fixed: skl2onnx writes what it
    keeps in sets in the order of these."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.argv])


def main():
    warnings.simplefilter("ignore")
    makers = [(case.function, functools.partial(convert, case)) for case in CASES]
    makers += [(function, function) for function in (one_input_for_each_column, relabelled)]
    lines = []
    for function, maker in makers:
        name = function.__name__
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            made = maker(numpy.random.default_rng(fixtures.seed(name)))
            lines.append(save(name, function.__doc__, *made))
    if len(sys.argv) == 1:
        fixtures.write_readme("sklearn", TITLE, "make_sklearn.py", PACKAGES, lines)


if __name__ == "__main__":
    fix_hash_order()
    main()
